-- name: vitals
-- How the database's parts are, in a few milliseconds however much there is: what could be many is
-- counted no further than to a limit. Only the owner sees the queue of jobs and all vectors.
WITH todo AS (
  SELECT id, task_name, scheduled_at FROM procrastinate.procrastinate_jobs
  WHERE status = 'todo' ORDER BY priority DESC, id LIMIT 10000
), jobs AS (
  SELECT task_name, 'todo' AS status FROM todo
  UNION ALL SELECT task_name, status::text FROM procrastinate.procrastinate_jobs
    WHERE status = 'doing'
  UNION ALL SELECT task_name, status::text FROM procrastinate.procrastinate_jobs
    WHERE status = 'failed'
), counted AS (
  SELECT task_name AS task, status, count(*) AS jobs FROM jobs GROUP BY 1, 2
), active AS (
  SELECT id, name, dimensions FROM memory.embedding_models WHERE active
), unsealed AS (
  SELECT at FROM memory.audit_logs
  WHERE id >= coalesce((SELECT upper(ids) FROM memory.audit_seals WHERE source = 'audit_logs'
    ORDER BY upper(ids) DESC LIMIT 1), 0)
  ORDER BY id LIMIT 1
)
SELECT
  current_setting('transaction_read_only') = 'on' AS read_only,
  (SELECT digest FROM memory.schema_versions ORDER BY id DESC LIMIT 1) AS schema_digest,
  (SELECT max((to_jsonb(v) ->> 'step')::int) FROM memory.schema_versions AS v) AS schema_step,
  (SELECT name FROM active) AS model,
  (SELECT dimensions FROM active) AS dimensions,
  (SELECT coalesce(jsonb_agg(to_jsonb(counted)), '[]') FROM counted) AS jobs,
  (SELECT extract(epoch FROM now() - min(coalesce(
      t.scheduled_at, (SELECT min(e.at) FROM procrastinate.procrastinate_events AS e
        WHERE e.job_id = t.id))))::float8
    FROM todo AS t WHERE t.scheduled_at IS NULL OR t.scheduled_at <= now()) AS oldest_due,
  (SELECT extract(epoch FROM now() - min(updated_at))::float8 FROM (
    SELECT updated_at FROM memory.memories WHERE document = '' ORDER BY id LIMIT 1000
  ) AS unembedded) AS unembedded_age,
  (SELECT count(*) FROM procrastinate.procrastinate_workers
    WHERE last_heartbeat > now() - %(alive_seconds)s::float8 * interval '1 second') AS workers,
  (SELECT count(*) FROM (
    SELECT FROM memory.memory_embeddings WHERE NOT indexed AND model = (SELECT id FROM active)
    LIMIT 100000) AS p) AS pending,
  (SELECT extract(epoch FROM now() - at)::float8 FROM unsealed) AS unsealed_age

-- name: unsealed_history
SELECT extract(epoch FROM now() - valid_to)::float8 AS age FROM memory.memory_history
WHERE id >= coalesce((SELECT upper(ids) FROM memory.audit_seals WHERE source = 'memory_history'
  ORDER BY upper(ids) DESC LIMIT 1), 0)
ORDER BY id LIMIT 1
