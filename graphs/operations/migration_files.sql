-- name: expect_step
DO $guard$
DECLARE
  at int;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('graph-native-memory setup', 0));
  IF to_regclass('memory.schema_versions') IS NOT NULL THEN
    SELECT coalesce(max((to_jsonb(v) ->> 'step')::int), 1) INTO at FROM memory.schema_versions AS v;
  END IF;
  IF coalesce(at, 0) >= %(step)s THEN
    RAISE EXCEPTION 'this database has step %% of the schema already', %(step)s
      USING HINT = 'mark this file as applied: supabase migration repair --status applied '
      || %(version)s;
  ELSIF coalesce(at, 0) <> %(before)s THEN
    RAISE EXCEPTION 'step %% of the schema is to follow step %%', %(step)s, %(before)s
      USING HINT = 'apply the files before this one first';
  END IF;
END $guard$

-- name: note_baseline
INSERT INTO memory.schema_versions (digest, left_out) VALUES (%(digest)s, %(left_out)s::text[])

-- name: expect_newest
DO $guard$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('graph-native-memory setup', 0));
  IF NOT EXISTS (SELECT FROM memory.schema_versions AS v WHERE v.step >= %(step)s) THEN
    RAISE EXCEPTION 'the business tables are to follow step %% of the schema', %(step)s
      USING HINT = 'apply the files before this one first';
  END IF;
END $guard$

-- name: make_jobs
DO $make$
BEGIN
  IF to_regclass('procrastinate.procrastinate_jobs') IS NULL THEN
    EXECUTE {schema};
  ELSE
    {migrations}
    NULL;
  END IF;
END $make$

-- name: migrate_jobs
IF NOT EXISTS (SELECT FROM memory.job_migrations WHERE name = {name}) THEN
  EXECUTE {script};
END IF;
