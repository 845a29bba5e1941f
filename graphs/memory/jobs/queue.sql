-- name: queue_facts
-- Queue the extraction of facts from a session, in the transaction that stores the turns.
SELECT memory.queue_facts(%(user_id)s, %(session_id)s, %(seconds)s)

-- name: queue_indexing
-- As the trigger of rows that came past the store queues it; only later, and once.
SELECT procrastinate.procrastinate_defer_jobs_v1(ARRAY[ROW('default', 'index_memories', 0,
  'index_memories', NULL, '{}', now() + %(seconds)s::float8 * interval '1 second'
)::procrastinate.procrastinate_job_to_defer_v1])
WHERE NOT EXISTS (SELECT FROM procrastinate.procrastinate_jobs
  WHERE task_name = 'index_memories' AND status = 'todo')

-- name: jobs
-- Jobs, the latest first.
SELECT j.id, j.task_name AS task, j.status::text AS status, j.args, j.attempts, j.scheduled_at,
  (SELECT max(e.at) FROM procrastinate.procrastinate_events AS e WHERE e.job_id = j.id
    AND e.type <> 'scheduled') AS changed_at,
  f.error
FROM procrastinate.procrastinate_jobs AS j LEFT JOIN memory.job_failures AS f ON f.job_id = j.id
WHERE (%(status)s::text IS NULL OR j.status::text = %(status)s)
  AND (%(task)s::text IS NULL OR j.task_name = %(task)s)
  AND (%(user_id)s::text IS NULL OR j.args ->> 'user_id' = %(user_id)s)
ORDER BY j.id DESC LIMIT %(limit)s

-- name: job
SELECT j.id, j.task_name AS task, j.status::text AS status, j.args, j.attempts, j.scheduled_at,
  (SELECT max(e.at) FROM procrastinate.procrastinate_events AS e WHERE e.job_id = j.id
    AND e.type <> 'scheduled') AS changed_at,
  f.error
FROM procrastinate.procrastinate_jobs AS j LEFT JOIN memory.job_failures AS f ON f.job_id = j.id
WHERE j.id = %(job_id)s AND (%(user_id)s::text IS NULL OR j.args ->> 'user_id' = %(user_id)s)

-- name: allowed
-- Nothing: running it only checks that the principal may queue jobs.
SELECT 1 AS allowed

-- name: counts
SELECT j.task_name AS task, j.status::text AS status, count(*) AS jobs
FROM procrastinate.procrastinate_jobs AS j GROUP BY 1, 2 ORDER BY 1, 2

-- name: is_failed
SELECT FROM procrastinate.procrastinate_jobs WHERE id = %(job_id)s AND status = 'failed'
