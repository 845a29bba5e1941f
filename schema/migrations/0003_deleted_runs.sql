-- A deleted run stores nothing more, and a deleted thread does not come back.
-- The runs whose thread or state was deleted. One that is still under way stores nothing more, in
-- its thread or in memory. With thread_id '' the run is deleted in every thread.
CREATE TABLE IF NOT EXISTS memory.deleted_runs (
  run_id     text COLLATE "C" NOT NULL,
  thread_id  text COLLATE "C" NOT NULL,
  deleted_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (run_id, thread_id)
);
CREATE INDEX IF NOT EXISTS deleted_runs_age ON memory.deleted_runs (deleted_at);
ALTER TABLE memory.deleted_runs ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON memory.deleted_runs FROM PUBLIC, anon, authenticated, service_role;

-- The key of the advisory lock by which writers of a thread or run keep a deletion waiting.
CREATE OR REPLACE FUNCTION memory.run_lock(kind text, id text) RETURNS bigint
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = ''
AS $$ SELECT hashtextextended('graph-native memory ' || kind || ' ' || id, 0) $$;

-- Refuse the transaction of a run that was deleted. Runs and threads are given in pairs. Until the
-- transaction ends, no deletion of these threads or runs begins: it sees all that was written.
CREATE OR REPLACE FUNCTION memory.refuse_deleted_runs(runs text[], threads text[]) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$ BEGIN
  PERFORM pg_advisory_xact_lock_shared(k.key) FROM (
    SELECT memory.run_lock('run', id) AS key FROM unnest(runs) AS id
    UNION SELECT memory.run_lock('thread', id) FROM unnest(threads) AS id ORDER BY key) AS k;
  IF EXISTS (
    SELECT FROM unnest(runs, threads) AS given (run_id, thread_id)
    JOIN memory.deleted_runs AS d ON d.run_id = given.run_id
      AND d.thread_id IN (given.thread_id, '')
  ) THEN
    RAISE EXCEPTION USING ERRCODE = 'GM410', MESSAGE = 'the run was deleted: it stores nothing more';
  END IF;
END $$;

-- Delete all state of threads. Their runs that are under way store nothing more: those that have
-- written here, and those that are given. Returns the number of rows by table.
CREATE OR REPLACE FUNCTION memory.delete_threads(threads text[], runs text[] DEFAULT '{}')
  RETURNS jsonb
  LANGUAGE plpgsql SET search_path = ''
AS $$
DECLARE deleted jsonb := '{}'; name text; n bigint;
BEGIN
  PERFORM pg_advisory_xact_lock(k.key) FROM (
    SELECT memory.run_lock('thread', id) AS key FROM unnest(threads) AS id ORDER BY key) AS k;
  DELETE FROM memory.deleted_runs AS d WHERE d.deleted_at < now() - interval '2 days';
  IF to_regclass('langgraph.checkpoints') IS NULL THEN RETURN deleted; END IF;
  INSERT INTO memory.deleted_runs (run_id, thread_id)
  SELECT DISTINCT r.run_id, t.thread_id FROM unnest(threads) AS t (thread_id)
  CROSS JOIN LATERAL (
    SELECT c.metadata ->> 'run_id' AS run_id FROM langgraph.checkpoints AS c
    WHERE c.thread_id = t.thread_id
    UNION SELECT unnest(runs)) AS r
  WHERE r.run_id IS NOT NULL
  ON CONFLICT DO NOTHING;
  FOREACH name IN ARRAY ARRAY['checkpoints', 'checkpoint_blobs', 'checkpoint_writes'] LOOP
    EXECUTE format('DELETE FROM langgraph.%I WHERE thread_id = ANY ($1)', name) USING threads;
    GET DIAGNOSTICS n = ROW_COUNT;
    deleted := deleted
      || CASE WHEN n > 0 THEN jsonb_build_object('langgraph.' || name, n) ELSE '{}' END;
  END LOOP;
  RETURN deleted;
END $$;

REVOKE ALL ON FUNCTION memory.run_lock(text, text), memory.refuse_deleted_runs(text[], text[]),
  memory.delete_threads(text[], text[]) FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION memory.refuse_deleted_runs(text[], text[])
  TO authenticated, service_role;
