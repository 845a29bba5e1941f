-- name: writers
-- The runs that wrote facts, as they are now.
SELECT m.key, m.session_id, m.thread_id, m.run_id, m.checkpoint_id
FROM memory.memories AS m
WHERE m.namespace = ANY (ARRAY[%(namespace)s]) AND m.key = ANY (%(keys)s::text[])
