-- name: of
-- OFFSET 0 keeps the planner from merging the subquery: each address is one lookup in an index.
SELECT m.namespace, m.key, m.value ->> 'agent' AS agent, m.session_id, m.thread_id, m.run_id,
  m.checkpoint_id, m.task_id,
  m.value -> 'sources' AS sources
FROM unnest(%(namespaces)s::text[], %(keys)s::text[]) AS given (namespace, key)
CROSS JOIN LATERAL (
  SELECT * FROM memory.memories AS m
  WHERE m.namespace = ANY (ARRAY[given.namespace]) AND m.key = ANY (ARRAY[given.key])
    AND (m.expires_at IS NULL OR m.expires_at > now())
    AND coalesce(m.user_id, %(user_id)s) = %(user_id)s
  OFFSET 0
) AS m
