-- name: lock
-- Let one process at a time create the tables.
SELECT pg_advisory_xact_lock(hashtextextended('graph-native-memory checkpointer', 0))

-- name: path
SELECT set_config('search_path', 'langgraph', true), {text_formats}

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
