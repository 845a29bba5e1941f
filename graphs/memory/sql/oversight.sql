-- name: would_decay
-- What `decay` would change, by the same rule.
SELECT namespace, key, value, importance::float8 AS importance, importance >= %(important)s AS important
FROM (
  SELECT namespace, key, value, CASE WHEN jsonb_typeof(value -> 'importance') = 'number'
    THEN (value ->> 'importance')::numeric END AS importance
  FROM memory.memories
  WHERE user_id = %(user_id)s AND updated_at < now() - %(days)s * interval '1 day' AND value ? 'type'
    AND value -> 'pinned' IS DISTINCT FROM 'true'
) AS untouched
WHERE importance BETWEEN 0 AND 1
ORDER BY importance, namespace, key
