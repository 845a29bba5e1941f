-- name: report_failure
-- Only of a job that is being done still: it may have been erased with its person, or done by
-- another worker meanwhile.
INSERT INTO memory.job_failures (job_id, user_id, error)
SELECT j.id, %(user_id)s, %(error)s FROM procrastinate.procrastinate_jobs AS j
WHERE j.id = %(job_id)s AND j.status = 'doing' FOR KEY SHARE
ON CONFLICT (job_id) DO UPDATE SET error = EXCLUDED.error, at = now()

-- name: forget_failures
-- What is known of jobs that are no longer kept.
DELETE FROM memory.job_failures AS f
WHERE NOT EXISTS (SELECT FROM procrastinate.procrastinate_jobs AS j WHERE j.id = f.job_id)
