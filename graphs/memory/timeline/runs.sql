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
  AND (%(thread_id)s::text IS NULL OR r.thread_id = %(thread_id)s::text)
  AND r.run_id = ANY (coalesce(%(only)s::text[], ARRAY[r.run_id]))
  AND (r.began_at, r.run_id) < (%(at)s::timestamptz, %(id)s::text COLLATE "C")
ORDER BY r.began_at DESC, r.run_id DESC LIMIT %(most)s

-- name: statuses
SELECT r.run_id, r.status FROM memory.runs AS r
WHERE r.run_id = ANY (%(run_ids)s::text[]) AND r.user_id = %(user_id)s

-- name: now_there
-- The texts at addresses, in their order.
SELECT m.value ->> 'content' AS content
FROM unnest(%(namespaces)s::text[], %(keys)s::text[]) WITH ORDINALITY AS a (namespace, key, n)
LEFT JOIN LATERAL (
  SELECT m.value FROM memory.memories AS m
  WHERE m.namespace = ANY (ARRAY[a.namespace]) AND m.key = ANY (ARRAY[a.key]) OFFSET 0) AS m ON true
ORDER BY a.n

-- name: there_before
-- The texts that runs, which were settled in this transaction, ended at addresses, in their order.
SELECT h.value ->> 'content' AS content
FROM unnest(%(namespaces)s::text[], %(keys)s::text[]) WITH ORDINALITY AS a (namespace, key, n)
LEFT JOIN LATERAL (
  SELECT h.value FROM memory.memory_history AS h
  WHERE h.namespace = ANY (ARRAY[a.namespace]) AND h.key = ANY (ARRAY[a.key]) AND h.settled
  ORDER BY h.id DESC LIMIT 1) AS h ON true
ORDER BY a.n

-- name: aside
-- What a run wrote that does not stand, the last version at each address: `set_aside` with a run,
-- `forgotten` by the person, or `replaced` or deleted by a later write.
SELECT last.namespace, last.key, last.type, last.content, last.written_at, last.ended_at, last.why
FROM (
  SELECT DISTINCT ON (h.namespace, h.key) h.id, h.namespace, h.key, h.value ->> 'type' AS type,
    h.value ->> 'content' AS content, coalesce(h.written_at, h.valid_from) AS written_at,
    h.valid_to AS ended_at,
    CASE WHEN h.forgotten THEN 'forgotten' WHEN h.settled THEN 'set_aside' ELSE 'replaced' END AS why
  FROM memory.memory_history AS h
  WHERE h.run_id = %(run_id)s AND h.user_id = %(user_id)s AND NOT h.expired
    AND NOT EXISTS (SELECT FROM memory.memories AS m
      WHERE m.namespace = h.namespace AND m.key = h.key AND m.run_id = h.run_id)
    AND NOT EXISTS (SELECT FROM memory.memory_history AS e
      WHERE e.namespace = h.namespace AND e.key = h.key AND e.expired
        AND e.memory_id = h.memory_id AND e.id >= h.id)
  ORDER BY h.namespace, h.key, h.id DESC) AS last
ORDER BY last.id LIMIT %(most)s
