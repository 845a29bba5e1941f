-- These policies look a memory up by its address or id only: a plan that was made while the table
-- was small would read all memories of the person for each row.
ALTER POLICY own ON memory.turns
  WITH CHECK (user_id = (SELECT auth.uid())::text AND EXISTS (
    SELECT FROM memory.memories AS m
    WHERE m.namespace = ANY (ARRAY[turns.namespace]) AND m.key = ANY (ARRAY[turns.key])
      AND (m.user_id = turns.user_id) IS TRUE));

ALTER POLICY own ON memory.goal_assessments
  WITH CHECK (user_id = (SELECT auth.uid())::text AND EXISTS (
    SELECT FROM memory.memories AS m WHERE m.id = ANY (ARRAY[memory_id])
    AND (m.user_id = goal_assessments.user_id) IS TRUE));

ALTER POLICY own ON memory.belief_graphs
  WITH CHECK (user_id = (SELECT auth.uid())::text AND EXISTS (
    SELECT FROM memory.memories AS m WHERE m.id = ANY (ARRAY[memory_id])
    AND (m.user_id = belief_graphs.user_id) IS TRUE));
