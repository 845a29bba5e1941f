-- name: report_failure
-- Record a failure only while the job runs: it may have been erased with its user, or finished by
-- another worker.
INSERT INTO memory.job_failures (job_id, user_id, error)
SELECT j.id, %(user_id)s, %(error)s FROM procrastinate.procrastinate_jobs AS j
WHERE j.id = %(job_id)s AND j.status = 'doing' FOR KEY SHARE
ON CONFLICT (job_id) DO UPDATE SET error = EXCLUDED.error, at = now()

-- name: forget_failures
-- Delete the failures of jobs that were deleted.
DELETE FROM memory.job_failures AS f
WHERE NOT EXISTS (SELECT FROM procrastinate.procrastinate_jobs AS j WHERE j.id = f.job_id)
