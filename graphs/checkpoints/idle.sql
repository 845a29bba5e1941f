-- name: idle_threads
-- A page of threads with a history whose last checkpoint is older than a time. Pruning keeps up to
-- two checkpoints of a namespace.
SELECT thread_id FROM langgraph.checkpoints
WHERE thread_id > %(after)s::text
GROUP BY thread_id
HAVING max(checkpoint_id) < %(since)s::text AND count(*) > 2 * count(DISTINCT checkpoint_ns)
ORDER BY thread_id LIMIT 100
