-- name: path
-- Where the library's tables are, which it names without a schema.
SELECT set_config('search_path', 'langgraph', true), {text_formats}

-- name: delete_threads
SELECT memory.delete_threads(%(thread_ids)s::text[], %(run_ids)s::text[])

-- name: latest_of_run
SELECT checkpoint_id FROM langgraph.checkpoints
WHERE thread_id = %(thread_id)s AND checkpoint_ns = %(checkpoint_ns)s
  AND metadata ->> 'run_id' = %(run_id)s
ORDER BY checkpoint_id DESC LIMIT 1

-- name: lock_runs
-- Wait for what the runs are writing; then they write no more.
SELECT pg_advisory_xact_lock(k.key) FROM (
  SELECT memory.run_lock('run', id) AS key FROM unnest(%(run_ids)s::text[]) AS id ORDER BY key) AS k

-- name: note_deleted_runs
INSERT INTO memory.deleted_runs (run_id, thread_id)
SELECT id, coalesce(%(thread_id)s::text, '') FROM unnest(%(run_ids)s::text[]) AS id
ON CONFLICT DO NOTHING

-- name: built_upon
-- The threads in which a checkpoint of another run follows on one of these runs.
SELECT DISTINCT c.thread_id
FROM langgraph.checkpoints AS gone JOIN langgraph.checkpoints AS c ON c.thread_id = gone.thread_id
  AND c.checkpoint_ns = gone.checkpoint_ns AND c.parent_checkpoint_id = gone.checkpoint_id
WHERE gone.metadata ->> 'run_id' = ANY(%(run_ids)s)
  AND (%(thread_id)s::text IS NULL OR gone.thread_id = %(thread_id)s::text)
  AND coalesce(c.metadata ->> 'run_id' <> ALL(%(run_ids)s), true)

-- name: delete_for_runs
-- Delete the checkpoints of runs, in all threads or in one, with their writes, and with the blobs
-- that no other checkpoint needs.
WITH gone AS (
  DELETE FROM langgraph.checkpoints
  WHERE metadata ->> 'run_id' = ANY(%(run_ids)s)
    AND (%(thread_id)s::text IS NULL OR thread_id = %(thread_id)s::text)
  RETURNING thread_id, checkpoint_ns, checkpoint_id, checkpoint -> 'channel_versions' AS versions
), writes AS (
  DELETE FROM langgraph.checkpoint_writes AS w USING gone AS g
  WHERE w.thread_id = g.thread_id AND w.checkpoint_ns = g.checkpoint_ns
    AND w.checkpoint_id = g.checkpoint_id
)
DELETE FROM langgraph.checkpoint_blobs AS b
USING (
  SELECT DISTINCT g.thread_id, g.checkpoint_ns, v.key AS channel, v.value AS version
  FROM gone AS g, jsonb_each_text(g.versions) AS v
) AS freed
WHERE b.thread_id = freed.thread_id AND b.checkpoint_ns = freed.checkpoint_ns
  AND b.channel = freed.channel AND b.version = freed.version
  AND NOT EXISTS (
    SELECT FROM langgraph.checkpoints AS c
    WHERE c.thread_id = b.thread_id AND c.checkpoint_ns = b.checkpoint_ns
      AND c.checkpoint -> 'channel_versions' ->> b.channel = b.version
      AND coalesce(c.metadata ->> 'run_id' <> ALL(%(run_ids)s), true)
  )

-- name: copy_thread
-- Copy a thread's checkpoints, blobs and writes to another thread. Rows that the target already
-- has are kept.
WITH checkpoints AS (
  INSERT INTO langgraph.checkpoints
    (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata)
  SELECT %(target)s, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint,
    CASE
      WHEN metadata ? 'thread_id'
      THEN jsonb_set(metadata, '{thread_id}', to_jsonb(%(target)s::text))
      ELSE metadata
    END
  FROM langgraph.checkpoints WHERE thread_id = %(source)s
  ON CONFLICT DO NOTHING
), blobs AS (
  INSERT INTO langgraph.checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
  SELECT %(target)s, checkpoint_ns, channel, version, type, blob
  FROM langgraph.checkpoint_blobs WHERE thread_id = %(source)s
  ON CONFLICT DO NOTHING
)
INSERT INTO langgraph.checkpoint_writes
  (thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob, task_path)
SELECT %(target)s, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob, task_path
FROM langgraph.checkpoint_writes WHERE thread_id = %(source)s
ON CONFLICT DO NOTHING
