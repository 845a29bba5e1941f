-- name: would_decay
-- The memories that `decay` would change, by the same rule.
WITH recalled AS MATERIALIZED (
  SELECT DISTINCT
    array_to_string(ARRAY(SELECT jsonb_array_elements_text(c.found -> 'namespace')), '.') || '.'
      AS namespace, c.found ->> 'key' AS key
  FROM memory.recall_receipts AS r CROSS JOIN jsonb_array_elements(r.chosen) AS c (found)
  WHERE r.user_id = %(user_id)s AND r.at >= now() - %(days)s * interval '1 day'
)
SELECT namespace, key, value, importance::float8 AS importance,
  importance >= %(important)s AS important
FROM (
  SELECT namespace, key, value, CASE WHEN jsonb_typeof(value -> 'importance') = 'number'
    THEN (value ->> 'importance')::numeric END AS importance
  FROM memory.memories
  WHERE user_id = %(user_id)s AND updated_at < now() - %(days)s * interval '1 day'
    AND value ? 'type'
    AND value -> 'pinned' IS DISTINCT FROM 'true'
) AS untouched
WHERE importance BETWEEN 0 AND 1 AND NOT EXISTS (
  SELECT FROM recalled AS r WHERE (r.namespace, r.key) = (untouched.namespace, untouched.key))
ORDER BY importance, namespace, key

-- name: purge_jobs
-- Jobs that ended before a limit, counted by status. They are deleted unless this is a dry run.
WITH old AS (
  SELECT j.id, j.status FROM procrastinate.procrastinate_jobs AS j
  WHERE j.status::text = ANY (%(statuses)s::text[])
    AND (SELECT max(e.at) FROM procrastinate.procrastinate_events AS e
      WHERE e.job_id = j.id AND e.type <> 'scheduled')
      < now() - %(hours)s::float8 * interval '1 hour'
), gone AS (
  DELETE FROM procrastinate.procrastinate_jobs AS j USING old
  WHERE j.id = old.id AND j.status = old.status AND NOT %(dry_run)s::boolean
), forgotten AS (
  DELETE FROM memory.job_failures AS f USING old
  WHERE f.job_id = old.id AND NOT %(dry_run)s::boolean
)
SELECT status::text AS status, count(*) AS jobs FROM old GROUP BY 1 ORDER BY 1

-- name: would_sweep
SELECT count(*) AS expired FROM memory.memories WHERE expires_at <= now()

-- name: would_reembed
-- The number of vectors that a model lacks. The model need not be registered yet.
SELECT count(DISTINCT (old.namespace, old.key, old.field)) AS missing
FROM memory.memory_embeddings AS old
WHERE NOT EXISTS (
  SELECT FROM memory.memory_embeddings AS new JOIN memory.embedding_models AS e ON e.id = new.model
  WHERE new.namespace = ANY (ARRAY[old.namespace]) AND new.key = ANY (ARRAY[old.key])
    AND new.field = ANY (ARRAY[old.field])
    AND e.name = %(name)s AND e.dimensions = %(dimensions)s)
