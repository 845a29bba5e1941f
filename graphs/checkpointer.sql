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

-- name: idle_threads
-- A page of threads with a history whose last checkpoint is older than a time. Pruning keeps up to
-- two checkpoints of a namespace.
SELECT thread_id FROM langgraph.checkpoints
WHERE thread_id > %(after)s
GROUP BY thread_id
HAVING max(checkpoint_id) < %(since)s AND count(*) > 2 * count(DISTINCT checkpoint_ns)
ORDER BY thread_id LIMIT 100

-- name: lock
-- Let one process at a time create the tables.
SELECT pg_advisory_xact_lock(hashtextextended('graph-native-memory checkpointer', 0))

-- name: has_versions
SELECT to_regclass('langgraph.checkpoint_migrations') IS NOT NULL AS has_versions

-- name: latest_version
SELECT coalesce(max(v), -1) AS version FROM langgraph.checkpoint_migrations

-- name: record_version
INSERT INTO langgraph.checkpoint_migrations (v) VALUES (%(version)s)

-- name: protect
-- Keep API roles from these tables: no grants, and row-level security without a policy in case
-- somebody grants access later.
ALTER TABLE langgraph.checkpoint_migrations ENABLE ROW LEVEL SECURITY;
ALTER TABLE langgraph.checkpoints           ENABLE ROW LEVEL SECURITY;
ALTER TABLE langgraph.checkpoint_blobs      ENABLE ROW LEVEL SECURITY;
ALTER TABLE langgraph.checkpoint_writes     ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON ALL TABLES IN SCHEMA langgraph FROM PUBLIC, anon, authenticated, service_role;
CREATE INDEX IF NOT EXISTS checkpoints_run ON langgraph.checkpoints ((metadata ->> 'run_id'));
