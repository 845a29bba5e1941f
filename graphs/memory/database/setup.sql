-- name: lock
-- One process at a time prepares a database; the lock ends with the transaction. The schema's texts
-- are read with the formats of text, too.
SELECT pg_advisory_xact_lock(hashtextextended('graph-native-memory setup', 0)), {text_formats}

-- name: has_auth
SELECT to_regprocedure('auth.uid()') IS NOT NULL AS has_auth

-- name: has_versions
SELECT to_regclass('memory.schema_versions') IS NOT NULL AS has_versions

-- name: latest_version
-- One that an older version recorded has no column `left_out`.
SELECT digest, coalesce(to_jsonb(v) -> 'left_out', '[]') AS left_out
FROM memory.schema_versions AS v ORDER BY id DESC LIMIT 1

-- name: has_tables
-- A schema that is empty is as good as none.
SELECT EXISTS (
  SELECT FROM pg_class WHERE relnamespace = to_regnamespace('memory')
    AND relkind = 'r') AS has_tables

-- name: noted_step
-- The highest one: a version from before there were steps records itself without one. Its database
-- has no such column.
SELECT max((to_jsonb(v) ->> 'step')::int) AS step FROM memory.schema_versions AS v

-- name: prepare_step
-- Steps find the types of `vector` wherever it was installed, and say nothing of what is there
-- already.
SELECT set_config('search_path', 'memory, extensions, public', true),
  set_config('client_min_messages', 'warning', true), {text_formats}

-- name: record_version
INSERT INTO memory.schema_versions (digest, left_out, step)
  VALUES (%(digest)s, %(left_out)s::text[], %(step)s::int)

-- name: has_jobs
SELECT to_regclass('procrastinate.procrastinate_jobs') IS NOT NULL AS has_jobs

-- name: in_job_schema
-- What follows in this transaction is procrastinate's, which names its tables without a schema.
SELECT set_config('search_path', 'procrastinate', true), {text_formats}

-- name: job_migrations
SELECT name FROM memory.job_migrations

-- name: record_job_migrations
INSERT INTO memory.job_migrations (name) SELECT unnest(%(names)s::text[]) ON CONFLICT DO NOTHING

-- name: protect_jobs
-- Nobody but the owner uses the queue, and its functions find their tables from anywhere. Workers
-- poll, behind a pooler as elsewhere: notifications would only make the commits of those who queue
-- wait for one another. Whether a job waits for others with its lock is looked up for each, and
-- procrastinate's own index has the lock behind the id.
DO $$
DECLARE
  found record;
BEGIN
  FOR found IN SELECT oid::regclass AS name FROM pg_class
    WHERE relnamespace = 'procrastinate'::regnamespace AND relkind = 'r'
  LOOP
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', found.name);
    EXECUTE format('REVOKE ALL ON %s FROM PUBLIC, anon, authenticated, service_role', found.name);
  END LOOP;
  FOR found IN SELECT oid::regprocedure AS name FROM pg_proc
    WHERE pronamespace = 'procrastinate'::regnamespace LOOP
    EXECUTE format('ALTER FUNCTION %s SET search_path = procrastinate, pg_temp', found.name);
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC, anon, authenticated, service_role',
      found.name);
  END LOOP;
  FOR found IN SELECT t.tgname AS name, t.tgrelid::regclass AS on_table
    FROM pg_trigger AS t JOIN pg_proc AS p ON p.oid = t.tgfoid
    WHERE p.pronamespace = 'procrastinate'::regnamespace
      AND starts_with(p.proname, 'procrastinate_notify_')
  LOOP
    EXECUTE format('ALTER TABLE %s DISABLE TRIGGER %I', found.on_table, found.name);
  END LOOP;
  CREATE INDEX IF NOT EXISTS memory_jobs_in_turn ON procrastinate_jobs (lock, priority DESC, id)
    WHERE status IN ('todo', 'doing');
END $$

-- name: index_failed_jobs
-- Jobs that failed stay, among many that are done: whoever looks for them often must not read all.
CREATE INDEX IF NOT EXISTS procrastinate_jobs_failed ON procrastinate.procrastinate_jobs (id)
  WHERE status = 'failed'

-- name: active_model
SELECT id, name, dimensions, 'halfvec'::regtype::oid::bigint AS vector_type
FROM memory.embedding_models WHERE active

-- name: has_vectors
SELECT EXISTS (SELECT FROM memory.memory_embeddings) AS exists

-- name: retire_model
UPDATE memory.embedding_models SET active = false WHERE active

-- name: activate_model
INSERT INTO memory.embedding_models (name, dimensions, active)
  VALUES (%(name)s, %(dimensions)s, true)
ON CONFLICT (name, dimensions) DO UPDATE SET active = true

-- name: create_vector_index
-- Nothing if it is there, so that a server also starts where the database is read-only.
SELECT memory.create_vector_index(%(model)s::smallint, %(dimensions)s)
WHERE to_regclass('memory.embeddings_vectors_' || %(model)s::smallint) IS NULL

-- name: rebuild_vector_index
SELECT memory.rebuild_vector_index(%(model)s::smallint, %(dimensions)s)

-- name: has_configuration
SELECT EXISTS (SELECT FROM pg_ts_config WHERE cfgname = %(configuration)s) AS exists
