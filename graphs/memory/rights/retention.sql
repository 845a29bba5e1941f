-- name: decay
-- Decay a user's memories that were neither updated nor recalled for a number of days. Important
-- ones lose half of their importance, and the update restarts their time; the others expire. Pinned
-- memories, and items that were not written under the contract, are left alone.
WITH recalled AS MATERIALIZED (
  SELECT DISTINCT
    array_to_string(ARRAY(SELECT jsonb_array_elements_text(c.found -> 'namespace')), '.') || '.'
      AS namespace, c.found ->> 'key' AS key
  FROM memory.recall_receipts AS r CROSS JOIN jsonb_array_elements(r.chosen) AS c (found)
  WHERE r.user_id = %(user_id)s AND r.at >= now() - %(days)s * interval '1 day'
), old AS (
  SELECT namespace, key, importance, importance >= %(important)s AS important
  FROM (
    SELECT namespace, key, CASE WHEN jsonb_typeof(value -> 'importance') = 'number'
      THEN (value ->> 'importance')::numeric END AS importance
    FROM memory.memories
    WHERE user_id = %(user_id)s AND updated_at < now() - %(days)s * interval '1 day'
      AND value ? 'type'
      AND value -> 'pinned' IS DISTINCT FROM 'true'
  ) AS untouched
  WHERE importance BETWEEN 0 AND 1 AND NOT EXISTS (
    SELECT FROM recalled AS r WHERE (r.namespace, r.key) = (untouched.namespace, untouched.key))
), faded AS (
  UPDATE memory.memories AS m SET
    value = jsonb_set(m.value, '{importance}', to_jsonb(round(old.importance / 2, 3)))
  FROM old WHERE m.namespace = ANY (ARRAY[old.namespace]) AND m.key = ANY (ARRAY[old.key])
    AND old.important
  RETURNING 1
), trimmed AS (
  UPDATE memory.memories AS m SET expires_at = now()
  FROM old WHERE m.namespace = ANY (ARRAY[old.namespace]) AND m.key = ANY (ARRAY[old.key])
    AND NOT old.important
  RETURNING 1
)
SELECT (SELECT count(*) FROM faded) AS faded, (SELECT count(*) FROM trimmed) AS trimmed

-- name: sweep_user
DELETE FROM memory.memories WHERE user_id = %(user_id)s AND expires_at <= now()

-- name: decaying
-- The users for whom `decay` may find something.
SELECT DISTINCT user_id FROM memory.memories
WHERE user_id IS NOT NULL AND updated_at < now() - %(days)s * interval '1 day' AND value ? 'type'

-- name: old_turns
-- Turns that were stored a number of days ago or earlier, the oldest first.
SELECT m.namespace, m.key, t.user_id, m.value,
  coalesce(m.importance >= %(important)s, false) AS important
FROM memory.turns AS t JOIN memory.memories AS m ON m.namespace = ANY (ARRAY[t.namespace])
  AND m.key = ANY (ARRAY[t.key])
WHERE t.created_at < now() - %(days)s * interval '1 day'
  AND m.value -> 'pinned' IS DISTINCT FROM 'true'
  AND (m.expires_at IS NULL OR m.expires_at > now())
ORDER BY t.created_at LIMIT %(limit)s

-- name: expire_turns
-- Let turns expire, except for those that were pinned or made again meanwhile.
UPDATE memory.memories AS m SET expires_at = now()
FROM unnest(%(namespaces)s::text[], %(keys)s::text[]) AS given (namespace, key)
JOIN memory.turns AS t ON t.namespace = ANY (ARRAY[given.namespace])
  AND t.key = ANY (ARRAY[given.key])
WHERE m.namespace = ANY (ARRAY[given.namespace]) AND m.key = ANY (ARRAY[given.key])
  AND t.created_at < now() - %(days)s::float8 * interval '1 day'
  AND m.value -> 'pinned' IS DISTINCT FROM 'true'

-- name: sweep_turns
DELETE FROM memory.memories AS m
USING unnest(%(namespaces)s::text[], %(keys)s::text[]) AS given (namespace, key)
WHERE m.namespace = ANY (ARRAY[given.namespace]) AND m.key = ANY (ARRAY[given.key])
  AND m.expires_at <= now()
