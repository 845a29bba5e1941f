-- name: ask_about
SELECT set_config('memory.asked', jsonb_build_array(%(namespace)s::text, %(key)s::text)::text, true)

-- name: evaluate
-- The result of each read policy for one item and the user of these claims. Runs as the owner, so
-- that the item is found whatever the policies say. EXECUTE, because the condition of a policy is
-- text in the catalogue.
DO $$
DECLARE
  asked  jsonb := current_setting('memory.asked')::jsonb;
  told   jsonb := '{}';
  policy record;
  holds  boolean;
BEGIN
  FOR policy IN
    SELECT p.polname AS name, pg_get_expr(p.polqual, p.polrelid) AS condition FROM pg_policy AS p
    WHERE p.polrelid = 'memory.memories'::regclass AND p.polcmd IN ('r', '*')
  LOOP
    EXECUTE format('SELECT %s FROM memory.memories WHERE namespace = $1 AND key = $2',
      policy.condition)
      INTO holds USING asked ->> 0, asked ->> 1;
    told := told || jsonb_build_object(policy.name, coalesce(holds, false));
  END LOOP;
  PERFORM set_config('memory.told', told::text, true);
END $$

-- name: row_and_policies
SELECT
  (SELECT to_jsonb(m) - '{value,document}'::text[] FROM memory.memories AS m
    WHERE m.namespace = %(namespace)s AND m.key = %(key)s) AS item,
  (SELECT m.expires_at <= now() FROM memory.memories AS m
    WHERE m.namespace = %(namespace)s AND m.key = %(key)s) AS expired,
  (SELECT c.relrowsecurity FROM pg_class AS c
    WHERE c.oid = 'memory.memories'::regclass) AS protected,
  has_schema_privilege('authenticated', 'memory', 'USAGE')
    AND has_table_privilege('authenticated', 'memory.memories', 'SELECT') AS granted,
  ARRAY(SELECT memory.my_organisations()) AS organisations,
  (SELECT coalesce(jsonb_agg(jsonb_build_object('name', p.polname, 'permissive', p.polpermissive,
      'condition', pg_get_expr(p.polqual, p.polrelid),
      'holds', current_setting('memory.told')::jsonb -> p.polname::text)
        ORDER BY p.polpermissive DESC, p.polname), '[]')
    FROM pg_policy AS p WHERE p.polrelid = 'memory.memories'::regclass AND p.polcmd IN ('r', '*')
      AND p.polroles && ARRAY[0, 'authenticated'::regrole::oid]) AS policies

-- name: is_visible
SELECT EXISTS (SELECT FROM memory.memories AS m
  WHERE m.namespace = %(namespace)s AND m.key = %(key)s) AS visible
