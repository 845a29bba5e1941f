-- name: begin_run
-- The moment that a run reads; NULL for the present.
SELECT memory.begin_run(%(user_id)s, %(session_id)s, %(agent)s, %(run_id)s, %(thread_id)s,
  %(parent)s, %(knows)s::boolean) AS as_of

-- name: end_run
SELECT memory.end_run(%(user_id)s, %(session_id)s, %(agent)s, %(run_id)s, %(began)s, %(parent)s,
  %(knows)s::boolean)

-- name: undo_runs
-- Rows are what changed, by address.
SELECT namespace, key, outcome FROM memory.undo_runs(%(run_ids)s::text[], %(user_id)s)

-- name: redo_runs
SELECT namespace, key, outcome FROM memory.redo_runs(%(run_ids)s::text[], %(user_id)s)

-- name: runs
-- The runs of a user, or of one session of theirs, the latest first, with the number of the
-- memories that each wrote and that stand today.
SELECT r.run_id, r.session_id, r.agent, r.thread_id, r.parent_run, r.resumes, r.began_at, r.as_of,
  r.wrote_at, r.status, s.head_run = r.run_id AS is_head,
  (SELECT count(*) FROM memory.memories AS m
    WHERE m.run_id = r.run_id AND m.user_id = r.user_id) AS memories
FROM memory.runs AS r
LEFT JOIN memory.sessions AS s ON s.user_id = r.user_id AND s.id = r.session_id
WHERE r.user_id = %(user_id)s
  AND (%(session_id)s::text IS NULL OR r.session_id = %(session_id)s::text)
  AND r.run_id = ANY (coalesce(%(only)s::text[], ARRAY[r.run_id]))
  AND (r.began_at, r.run_id) < (%(at)s::timestamptz, %(id)s::text COLLATE "C")
ORDER BY r.began_at DESC, r.run_id DESC LIMIT %(most)s
