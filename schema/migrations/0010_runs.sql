-- Runs, heads of sessions, undo, and the past as it was: its words, vectors and rows.

-- Wherever `vector` was installed, its types are found.
SET LOCAL search_path = memory, extensions, public;

-- Runs ------------------------------------------------------------------------------------------

-- The runs that began to read memory, or wrote it. The chain of parents is a line of a conversation.
CREATE TABLE IF NOT EXISTS memory.runs (
  run_id     text COLLATE "C" PRIMARY KEY,
  user_id    text COLLATE "C" NOT NULL,
  session_id text COLLATE "C" NOT NULL,
  agent      text,
  thread_id  text DEFAULT memory.provenance('thread_id'),
  parent_run text COLLATE "C",  -- the last run that had written memory on the line where it began
  resumes    text COLLATE "C",  -- the run that it went on with, which had not ended
  began_at   timestamptz NOT NULL DEFAULT clock_timestamp(),  -- when it began to read
  as_of      timestamptz,  -- the moment that it reads; NULL for the present
  wrote_at   timestamptz,  -- when it first ended with a write; NULL where it has not
  status     text NOT NULL DEFAULT 'kept' CHECK (status IN ('kept', 'left', 'undone')),
  detached   boolean NOT NULL DEFAULT false  -- nothing can go on from it: its state was deleted
);

CREATE INDEX IF NOT EXISTS runs_line
  ON memory.runs (user_id, session_id, parent_run, began_at);
CREATE INDEX IF NOT EXISTS runs_thread ON memory.runs (thread_id);
CREATE INDEX IF NOT EXISTS runs_age ON memory.runs (began_at);

ALTER TABLE memory.runs ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS readable ON memory.runs;
CREATE POLICY readable ON memory.runs FOR SELECT TO authenticated
  USING (user_id = (SELECT auth.uid())::text);
REVOKE ALL ON memory.runs FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON memory.runs TO authenticated, service_role;

-- The last run that wrote on the line that the session is on; NULL before the first.
ALTER TABLE memory.sessions ADD COLUMN IF NOT EXISTS head_run text COLLATE "C";

-- Versions --------------------------------------------------------------------------------------

-- When a version was written that was brought back since; NULL where that is updated_at.
ALTER TABLE memory.memories ADD COLUMN IF NOT EXISTS written_at timestamptz;

-- part: history
ALTER TABLE memory.memory_history
  ADD COLUMN IF NOT EXISTS document      tsvector,
  ADD COLUMN IF NOT EXISTS position      bigint,
  ADD COLUMN IF NOT EXISTS session_id    text,
  ADD COLUMN IF NOT EXISTS thread_id     text,
  ADD COLUMN IF NOT EXISTS checkpoint_id text,
  ADD COLUMN IF NOT EXISTS written_at    timestamptz,  -- NULL where that is valid_from
  ADD COLUMN IF NOT EXISTS ttl_minutes   float8,
  -- the person wanted it gone: nothing brings it back
  ADD COLUMN IF NOT EXISTS forgotten     boolean NOT NULL DEFAULT false,
  -- it ended because a run was left, undone or kept again, which is no event of its own
  ADD COLUMN IF NOT EXISTS settled       boolean NOT NULL DEFAULT false;

CREATE INDEX IF NOT EXISTS history_scope ON memory.memory_history (namespace, valid_to);
CREATE INDEX IF NOT EXISTS history_writer ON memory.memory_history (run_id)
  WHERE run_id IS NOT NULL;

-- The vectors of earlier versions.
CREATE TABLE IF NOT EXISTS memory.history_embeddings (
  history_id bigint NOT NULL REFERENCES memory.memory_history (id) ON DELETE CASCADE,
  field      text COLLATE "C" NOT NULL,
  model      smallint NOT NULL,  -- of embedding_models
  user_id    text COLLATE "C",  -- of the version
  embedding  halfvec NOT NULL,
  PRIMARY KEY (history_id, model, field)
);
CREATE INDEX IF NOT EXISTS history_embeddings_user ON memory.history_embeddings (user_id)
  WHERE user_id IS NOT NULL;
ALTER TABLE memory.history_embeddings ALTER COLUMN embedding SET STORAGE PLAIN;
ALTER TABLE memory.history_embeddings ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS readable ON memory.history_embeddings;
CREATE POLICY readable ON memory.history_embeddings FOR SELECT TO authenticated
  USING (EXISTS (SELECT FROM memory.memory_history AS h WHERE h.id = history_id));
REVOKE ALL ON memory.history_embeddings FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON memory.history_embeddings TO authenticated, service_role;

-- Earlier versions of rows beside memories, such as relationships and turns, each with its span.
CREATE TABLE IF NOT EXISTS memory.row_history (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  source     text NOT NULL,
  row_id     text COLLATE "C" NOT NULL,  -- its primary key as JSON
  content    jsonb NOT NULL,
  operation  text NOT NULL CHECK (operation IN ('update', 'delete')),
  about      text COLLATE "C" NOT NULL,  -- the memory that it is about, as memory.row_about says it
  also_about text COLLATE "C",
  user_id    text COLLATE "C",
  org_id     text COLLATE "C",
  run_id     text,  -- the run that wrote this version
  ended_by   text,  -- the run that replaced or deleted it
  valid_from timestamptz NOT NULL,
  valid_to   timestamptz NOT NULL,
  settled    boolean NOT NULL DEFAULT false
);
CREATE INDEX IF NOT EXISTS row_history_row ON memory.row_history (source, row_id, valid_to);
CREATE INDEX IF NOT EXISTS row_history_about ON memory.row_history (about);
CREATE INDEX IF NOT EXISTS row_history_also ON memory.row_history (also_about)
  WHERE also_about IS NOT NULL;
CREATE INDEX IF NOT EXISTS row_history_writer ON memory.row_history (run_id)
  WHERE run_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS row_history_ended ON memory.row_history (ended_by)
  WHERE ended_by IS NOT NULL;
CREATE INDEX IF NOT EXISTS row_history_user ON memory.row_history (user_id, valid_to)
  WHERE user_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS row_history_org ON memory.row_history (org_id)
  WHERE org_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS row_history_age ON memory.row_history USING brin (valid_to);
ALTER TABLE memory.row_history ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS readable ON memory.row_history;
CREATE POLICY readable ON memory.row_history FOR SELECT TO authenticated
  USING (user_id = (SELECT auth.uid())::text OR org_id IN (SELECT memory.my_organisations()));
REVOKE ALL ON memory.row_history FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON memory.row_history TO authenticated, service_role;
-- end of part

-- When and by which run a value was written is not for the writer to say. An expired item that
-- was not swept yet is gone for its readers: written again, it starts anew. A version that is
-- brought back keeps its writer and its place in the order in which things were said; only the
-- owner of the tables, as whom `memory.settle` runs, can bring one back.
CREATE OR REPLACE FUNCTION memory.stamp_memory() RETURNS trigger
  LANGUAGE plpgsql SET search_path = ''
AS $$
DECLARE
  source jsonb := coalesce(nullif(current_setting('memory.provenance', true), ''), '{}');
BEGIN
  IF current_setting('memory.importing', true) <> '' AND memory.is_importing() THEN
    RETURN NEW;
  END IF;
  NEW.updated_at := greatest(now(), OLD.updated_at + interval '1 microsecond');  -- a version that only grows
  IF current_setting('memory.settling', true) <> '' AND memory.is_settling() THEN
    RETURN NEW;
  END IF;
  NEW.created_at    := CASE WHEN OLD.expires_at <= now() THEN now() ELSE OLD.created_at END;
  NEW.written_at    := NULL;
  NEW.session_id    := source ->> 'session_id';
  NEW.thread_id     := source ->> 'thread_id';
  NEW.run_id        := source ->> 'run_id';
  NEW.checkpoint_id := source ->> 'checkpoint_id';
  NEW.task_id       := source ->> 'task_id';
  RETURN NEW;
END $$;

-- Does `memory.settle` write? It runs as the owner of the tables.
CREATE OR REPLACE FUNCTION memory.is_settling() RETURNS boolean
  LANGUAGE sql STABLE SET search_path = ''
AS $$
  SELECT coalesce(current_setting('memory.settling', true), '') <> ''
    AND (SELECT pg_has_role(current_user, c.relowner, 'USAGE') FROM pg_catalog.pg_class AS c
      WHERE c.oid = 'memory.memories'::regclass)
$$;

-- part: history
-- Keep the version that ends, with its words and vectors. Before a deletion, since the vectors go
-- with the item. What a TTL, retention or decay removes leaves no version: where there are earlier
-- ones, a mark tells the job that prunes the history to erase them.
CREATE OR REPLACE FUNCTION memory.keep_version() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
  source   jsonb := coalesce(nullif(current_setting('memory.provenance', true), ''), '{}');
  settling boolean := coalesce(current_setting('memory.settling', true), '') <> '';
  version  bigint;
BEGIN
  IF current_setting('memory.importing', true) <> '' AND memory.is_importing() THEN
    RETURN OLD;
  END IF;
  IF OLD.expires_at <= now() THEN
    INSERT INTO memory.memory_history (memory_id, namespace, key, operation, value, user_id, org_id, agent_id, run_id,
      valid_from, valid_to, expired)
    SELECT OLD.id, OLD.namespace, OLD.key, lower(TG_OP), '{}', OLD.user_id, OLD.org_id, OLD.agent_id, OLD.run_id,
      OLD.updated_at, greatest(now(), OLD.updated_at), true
    WHERE EXISTS (
      SELECT FROM memory.memory_history AS h WHERE h.namespace = OLD.namespace AND h.key = OLD.key AND h.memory_id = OLD.id);
  ELSIF TG_OP = 'DELETE' OR OLD.value IS DISTINCT FROM NEW.value OR OLD.run_id IS DISTINCT FROM NEW.run_id THEN
    INSERT INTO memory.memory_history
      (memory_id, namespace, key, operation, value, user_id, org_id, agent_id, run_id, ended_by, valid_from, valid_to,
       document, position, session_id, thread_id, checkpoint_id, written_at, ttl_minutes, forgotten, settled)
    VALUES (OLD.id, OLD.namespace, OLD.key, lower(TG_OP), OLD.value, OLD.user_id, OLD.org_id, OLD.agent_id,
      OLD.run_id, CASE WHEN NOT settling THEN source ->> 'run_id' END, OLD.updated_at,
      CASE TG_OP WHEN 'DELETE' THEN greatest(now(), OLD.updated_at) ELSE greatest(now(), NEW.updated_at) END,
      OLD.document, OLD.position, OLD.session_id, OLD.thread_id, OLD.checkpoint_id, OLD.written_at, OLD.ttl_minutes,
      TG_OP = 'DELETE' AND NOT settling AND (coalesce(source -> 'forgets' = 'true', false) OR NOT source ? 'run_id'), settling)
    RETURNING id INTO version;
    INSERT INTO memory.history_embeddings (history_id, field, model, user_id, embedding)
    SELECT version, e.field, e.model, OLD.user_id, e.embedding FROM memory.memory_embeddings AS e
    WHERE e.namespace = OLD.namespace AND e.key = OLD.key;
  END IF;
  RETURN OLD;
END $$;
-- end of part

-- What happens to a memory is recorded with who did it: for one that expires, who let it expire
-- and when, since the service that removes it later only carries that out.
CREATE OR REPLACE FUNCTION memory.record_memory_change() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
BEGIN
  IF current_setting('memory.importing', true) <> '' AND memory.is_importing() THEN
    RETURN NULL;
  END IF;
  -- part: history
  -- A deletion that began later may have ended the address before this transaction could write: the
  -- new version begins where the old one ended.
  IF TG_OP = 'INSERT' AND EXISTS (
    SELECT FROM memory.memory_history AS h
    WHERE h.namespace = NEW.namespace AND h.key = NEW.key AND h.valid_to > NEW.updated_at
  ) THEN
    UPDATE memory.memories AS m SET updated_at = (SELECT max(h.valid_to) FROM memory.memory_history AS h
      WHERE h.namespace = NEW.namespace AND h.key = NEW.key)
    WHERE m.namespace = NEW.namespace AND m.key = NEW.key;
  END IF;
  -- Of what expires, the rows beside it leave no earlier version either.
  IF TG_OP = 'DELETE' AND OLD.expires_at <= now() THEN
    DELETE FROM memory.row_history AS r
    WHERE r.about IN (OLD.id::text, OLD.namespace || OLD.key) OR r.also_about = OLD.id::text;
  END IF;
  -- end of part
  INSERT INTO memory.audit_logs
    (actor, action, user_id, org_id, namespace, key, data, thread_id, run_id, checkpoint_id, task_id)
  SELECT coalesce(claims ->> 'sub', claims ->> 'role', current_user), 'memory.' || lower(TG_OP),
    coalesce(NEW.user_id, OLD.user_id), coalesce(NEW.org_id, OLD.org_id), coalesce(NEW.namespace, OLD.namespace),
    coalesce(NEW.key, OLD.key),
    CASE WHEN TG_OP = 'DELETE' THEN CASE WHEN OLD.expires_at <= now() THEN jsonb_build_object('expired_at', OLD.expires_at) END
      WHEN NEW.expires_at IS DISTINCT FROM OLD.expires_at THEN jsonb_build_object('expires_at', NEW.expires_at) END,
    source ->> 'thread_id', source ->> 'run_id', source ->> 'checkpoint_id', source ->> 'task_id'
  FROM (SELECT nullif(current_setting('request.jwt.claims', true), '')::jsonb AS claims,
    nullif(current_setting('memory.provenance', true), '')::jsonb AS source) AS transaction;
  RETURN NULL;
END $$;

-- part: history
CREATE OR REPLACE TRIGGER memories_ended BEFORE DELETE ON memory.memories
  FOR EACH ROW EXECUTE FUNCTION memory.keep_version();
CREATE OR REPLACE TRIGGER memories_replaced AFTER UPDATE OF value ON memory.memories
  FOR EACH ROW EXECUTE FUNCTION memory.keep_version();
-- end of part

-- Rows beside memories --------------------------------------------------------------------------

-- Which run wrote a row, and when. Turns have had their run from the start.
DO $$
DECLARE
  source text;
BEGIN
  FOREACH source IN ARRAY ARRAY['memory_relationships', 'goal_assessments', 'belief_graphs', 'user_brain', 'company_brain', 'turns'] LOOP
    IF to_regclass('memory.' || source) IS NOT NULL THEN
      EXECUTE format('ALTER TABLE memory.%I ADD COLUMN IF NOT EXISTS run_id text DEFAULT memory.provenance(''run_id''),
        ADD COLUMN IF NOT EXISTS written_at timestamptz', source);
      EXECUTE format('ALTER TABLE memory.%I ALTER COLUMN written_at SET DEFAULT now()', source);
      EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON memory.%I (run_id) WHERE run_id IS NOT NULL', source || '_run', source);
    END IF;
  END LOOP;
END $$;

-- A row's primary key as JSON, by which its history is found.
CREATE OR REPLACE FUNCTION memory.row_key(source text, content jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = ''
AS $$
  SELECT CASE source
    WHEN 'turns' THEN jsonb_build_array(content -> 'user_id', content -> 'session_id', content -> 'exchange', content -> 'role')
    WHEN 'memory_relationships' THEN jsonb_build_array(content -> 'id')
    WHEN 'user_brain' THEN jsonb_build_array(content -> 'user_id', content -> 'slug')
    WHEN 'company_brain' THEN jsonb_build_array(content -> 'org_id', content -> 'slug')
    ELSE jsonb_build_array(content -> 'memory_id') END::text
$$;

-- The memory that a row is about: its id, or for a turn its address, which outlives the id.
CREATE OR REPLACE FUNCTION memory.row_about(source text, content jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = ''
AS $$
  SELECT CASE source WHEN 'turns' THEN (content ->> 'namespace') || (content ->> 'key')
    WHEN 'memory_relationships' THEN content ->> 'source_id' ELSE content ->> 'memory_id' END
$$;

-- The writer and the time of a row are the database's. A row that is brought back keeps its own.
CREATE OR REPLACE FUNCTION memory.stamp_row() RETURNS trigger
  LANGUAGE plpgsql SET search_path = ''
AS $$
BEGIN
  IF current_setting('memory.settling', true) <> '' AND memory.is_settling() THEN
    RETURN NEW;
  END IF;
  NEW.run_id := memory.provenance('run_id');
  NEW.written_at := greatest(now(), OLD.written_at + interval '1 microsecond');
  RETURN NEW;
END $$;

-- part: history
CREATE OR REPLACE FUNCTION memory.keep_row() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
  was      jsonb := to_jsonb(OLD);
  settling boolean := coalesce(current_setting('memory.settling', true), '') <> '';
BEGIN
  -- A turn that the same run stores again is the same.
  IF TG_OP = 'UPDATE' AND TG_TABLE_NAME = 'turns' AND to_jsonb(NEW) ->> 'run_id' IS NOT DISTINCT FROM was ->> 'run_id' THEN
    RETURN NULL;
  END IF;
  INSERT INTO memory.row_history (source, row_id, content, operation, about, also_about, user_id, org_id, run_id, ended_by,
    valid_from, valid_to, settled)
  SELECT TG_TABLE_NAME, memory.row_key(TG_TABLE_NAME, was), was, lower(TG_OP), memory.row_about(TG_TABLE_NAME, was),
    was ->> 'target_id', was ->> 'user_id', was ->> 'org_id', was ->> 'run_id',
    CASE WHEN NOT settling THEN memory.provenance('run_id') END, w.at, greatest(now(), w.at + interval '1 microsecond'), settling
  FROM (SELECT coalesce((was ->> 'written_at')::timestamptz, (was ->> 'created_at')::timestamptz) AS at) AS w;
  RETURN NULL;
END $$;
-- end of part

DO $$
DECLARE
  source text;
BEGIN
  FOREACH source IN ARRAY ARRAY['memory_relationships', 'goal_assessments', 'belief_graphs', 'user_brain', 'company_brain', 'turns'] LOOP
    CONTINUE WHEN to_regclass('memory.' || source) IS NULL;
    -- That facts were taken from a turn is no new version of it.
    EXECUTE format('CREATE OR REPLACE TRIGGER %I BEFORE UPDATE %s ON memory.%I FOR EACH ROW EXECUTE FUNCTION memory.stamp_row()',
      source || '_stamped', CASE source WHEN 'turns' THEN 'OF run_id' ELSE '' END, source);
    -- part: history
    EXECUTE format('CREATE OR REPLACE TRIGGER %I AFTER UPDATE %s OR DELETE ON memory.%I FOR EACH ROW
      WHEN (coalesce(current_setting(''memory.erasing'', true), '''') = '''') EXECUTE FUNCTION memory.keep_row()',
      source || '_kept', CASE source WHEN 'turns' THEN 'OF run_id' ELSE '' END, source);
    -- end of part
  END LOOP;
END $$;

-- Settling --------------------------------------------------------------------------------------

-- May a person write at an address today? What they may not write, no run of theirs changes.
CREATE OR REPLACE FUNCTION memory.may_settle(subject text, in_namespace text) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = ''
AS $$
  SELECT CASE split_part(in_namespace, '.', 1)
    WHEN 'users' THEN owner = subject
    WHEN 'orgs' THEN owner IN (SELECT m.organisation_id FROM memory.organisation_members AS m
      WHERE m.user_id = subject AND m.accepted_at IS NOT NULL)
    ELSE false END
  FROM (SELECT replace(replace(split_part(in_namespace, '.', 2), '%2E', '.'), '%25', '%') AS owner) AS o
$$;

-- Does a run's write count? One that no run made, or one that nobody undid or left, does.
CREATE OR REPLACE FUNCTION memory.counts(run text) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = ''
AS $$ SELECT NOT EXISTS (SELECT FROM memory.runs AS r WHERE r.run_id = run AND r.status <> 'kept') $$;

-- At each address there stands, from now on, the last write of a run that counts, in the order in
-- which things were written. Says for each address that changed how: `removed`, `restored` (an
-- earlier or later value), `brought_back`, or `lost`: the value that was replaced is not known,
-- since there is no history. `left`: something that counts was written later; `refused`: the person
-- may not write there today.
CREATE OR REPLACE FUNCTION memory.settle(subject text, namespaces text[], keys text[])
  RETURNS TABLE (namespace text, key text, outcome text)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
  place   record;
  present memory.memories;
  version record;
BEGIN
  PERFORM set_config('memory.settling', 'on', true);
  FOR place IN
    SELECT DISTINCT a.namespace COLLATE "C" AS namespace, a.key COLLATE "C" AS key
    FROM unnest(namespaces, keys) AS a (namespace, key) ORDER BY 1, 2
  LOOP
    namespace := place.namespace; key := place.key; outcome := NULL;
    SELECT * INTO present FROM memory.memories AS m WHERE m.namespace = place.namespace AND m.key = place.key FOR UPDATE;
    IF NOT memory.may_settle(subject, place.namespace) THEN
      outcome := 'refused';
    ELSE
      version := NULL;
      -- A deletion comes after the version that it ends. What nobody replaced yet comes last.
      SELECT e.* INTO version FROM (
        SELECT NULL::bigint AS history_id, present.run_id AS by_run, coalesce(present.written_at, present.updated_at) AS at,
          false AS gone, false AS forgotten WHERE present.id IS NOT NULL
        -- part: history
        UNION ALL
        SELECT h.id, h.run_id, coalesce(h.written_at, h.valid_from), false, false FROM memory.memory_history AS h
        WHERE h.namespace = place.namespace AND h.key = place.key AND NOT h.expired
        UNION ALL
        SELECT h.id, h.ended_by, h.valid_to, true, h.forgotten FROM memory.memory_history AS h
        WHERE h.namespace = place.namespace AND h.key = place.key AND h.operation = 'delete' AND NOT h.settled
        -- end of part
      ) AS e LEFT JOIN memory.runs AS r ON r.run_id = e.by_run
      WHERE coalesce(r.status, 'kept') = 'kept' OR e.forgotten AND r.status = 'left'
      ORDER BY e.at DESC, e.history_id DESC NULLS FIRST, e.gone DESC LIMIT 1;
      outcome := memory.stand(present, version.history_id, version.at, coalesce(version.gone, true));
    END IF;
    IF outcome IS NOT NULL THEN
      RETURN NEXT;
    END IF;
  END LOOP;
  PERFORM set_config('memory.settling', '', true);
END $$;

-- Make one version stand at an address: one of the history, or none. Says how the address changed.
CREATE OR REPLACE FUNCTION memory.stand(
  present memory.memories, history_id bigint, written timestamptz, gone boolean) RETURNS text
  LANGUAGE plpgsql SET search_path = ''
AS $$
DECLARE
  outcome text := 'left';
  -- part: history
  version memory.memory_history;
  -- end of part
BEGIN
  IF gone THEN
    IF present.id IS NULL THEN
      RETURN NULL;
    END IF;
    DELETE FROM memory.memories AS m WHERE m.namespace = present.namespace AND m.key = present.key;
    -- Without a history, what the value had replaced is lost with it.
    RETURN CASE WHEN to_regclass('memory.memory_history') IS NULL AND present.updated_at > present.created_at
      THEN 'lost' ELSE 'removed' END;
  END IF;
  -- part: history
  IF present.id IS NOT NULL AND (history_id IS NULL OR EXISTS (SELECT FROM memory.memory_history AS h
    WHERE h.id = history_id AND (h.run_id, written) IS NOT DISTINCT FROM (present.run_id, coalesce(present.written_at, present.updated_at)))) THEN
    -- It stands already, perhaps with sources left out that count again.
    SELECT * INTO version FROM memory.memory_history AS h WHERE h.namespace = present.namespace AND h.key = present.key
      AND h.settled AND h.operation = 'update' AND h.run_id = present.run_id AND coalesce(h.written_at, h.valid_from) = written
    ORDER BY h.id LIMIT 1;
    IF version.id IS NOT NULL AND version.value - 'sources' = present.value - 'sources' THEN
      UPDATE memory.memories AS m SET value = version.value WHERE m.id = present.id;
    END IF;
    RETURN outcome;
  END IF;
  SELECT * INTO version FROM memory.memory_history AS h WHERE h.id = stand.history_id;
  IF version.position IS NULL THEN  -- it ended before words were kept
    version.document := '';
  END IF;
  IF version.ttl_minutes IS NOT NULL AND written + version.ttl_minutes * interval '1 minute' <= now() THEN
    DELETE FROM memory.memories AS m WHERE m.id = present.id;  -- it would have expired by now
    RETURN CASE WHEN present.id IS NOT NULL THEN 'removed' END;
  ELSIF present.id IS NOT NULL THEN
    UPDATE memory.memories AS m SET value = version.value, document = version.document, session_id = version.session_id,
      thread_id = version.thread_id, run_id = version.run_id, checkpoint_id = version.checkpoint_id, task_id = NULL,
      written_at = written, ttl_minutes = version.ttl_minutes,
      expires_at = written + version.ttl_minutes * interval '1 minute'
    WHERE m.id = present.id;
    DELETE FROM memory.memory_embeddings AS e WHERE e.namespace = version.namespace AND e.key = version.key;
    outcome := 'restored';
  ELSE
    INSERT INTO memory.memories (id, namespace, key, value, document, position, session_id, thread_id, run_id, checkpoint_id,
      task_id, created_at, written_at, ttl_minutes, expires_at) OVERRIDING SYSTEM VALUE
    SELECT version.memory_id, version.namespace, version.key, version.value, version.document, coalesce(version.position, 1),
      version.session_id, version.thread_id, version.run_id, version.checkpoint_id, NULL,
      (SELECT min(h.valid_from) FROM memory.memory_history AS h WHERE h.namespace = version.namespace AND h.key = version.key
        AND h.memory_id = version.memory_id),
      written, version.ttl_minutes, written + version.ttl_minutes * interval '1 minute';
    outcome := 'brought_back';
  END IF;
  INSERT INTO memory.memory_embeddings (namespace, key, field, model, memory_id, embedding)
  SELECT version.namespace, version.key, e.field, e.model, coalesce(present.id, version.memory_id), e.embedding
  FROM memory.history_embeddings AS e WHERE e.history_id = version.id;
  -- Without its vectors, as where their time has passed, it waits to be indexed again.
  UPDATE memory.memories AS m SET document = ''
  WHERE m.namespace = version.namespace AND m.key = version.key AND version.document IS NOT NULL
    AND EXISTS (SELECT FROM memory.embedding_models AS a WHERE a.active)
    AND NOT EXISTS (SELECT FROM memory.history_embeddings AS e WHERE e.history_id = version.id);
  -- end of part
  RETURN outcome;
END $$;

-- part: history
-- The same for rows beside memories: those that these runs wrote or ended, and those that went or
-- came with a memory. A row comes back under its own id, once the memories that it is about are
-- there.
CREATE OR REPLACE FUNCTION memory.settle_rows(subject text, runs text[], ids text[]) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
  place   record;
  present jsonb;
  version record;
BEGIN
  PERFORM set_config('memory.settling', 'on', true);
  FOR place IN
    SELECT DISTINCT c.source, c.row_id, c.rank FROM (
      SELECT h.source, h.row_id FROM memory.row_history AS h WHERE h.run_id = ANY (runs)
      UNION SELECT h.source, h.row_id FROM memory.row_history AS h WHERE h.ended_by = ANY (runs)
      UNION SELECT h.source, h.row_id FROM memory.row_history AS h WHERE h.about = ANY (ids)
      UNION SELECT h.source, h.row_id FROM memory.row_history AS h WHERE h.also_about = ANY (ids)
      UNION SELECT w.source, w.row_id FROM memory.rows_of(runs) AS w
    ) AS r CROSS JOIN LATERAL (SELECT r.*, array_position(ARRAY['turns', 'memory_relationships'], r.source) AS rank) AS c
    ORDER BY c.rank, c.source, c.row_id
  LOOP
    CONTINUE WHEN to_regclass('memory.' || place.source) IS NULL;
    present := memory.row_at(place.source, place.row_id);
    CONTINUE WHEN present IS NOT NULL AND present ->> 'user_id' IS DISTINCT FROM subject AND present ->> 'org_id' IS NULL;
    SELECT e.* INTO version FROM (
      SELECT NULL::bigint AS history_id, present AS content, present ->> 'run_id' AS by_run,
        coalesce(present ->> 'written_at', present ->> 'created_at')::timestamptz AS at, false AS gone WHERE present IS NOT NULL
      UNION ALL
      SELECT h.id, h.content, h.run_id, h.valid_from, false FROM memory.row_history AS h
      WHERE h.source = place.source AND h.row_id = place.row_id
      UNION ALL
      SELECT h.id, NULL, h.ended_by, h.valid_to, true FROM memory.row_history AS h
      WHERE h.source = place.source AND h.row_id = place.row_id AND h.operation = 'delete' AND NOT h.settled
    ) AS e WHERE memory.counts(e.by_run)
    ORDER BY e.at DESC, e.history_id DESC NULLS FIRST, e.gone DESC LIMIT 1;
    CONTINUE WHEN version.history_id IS NULL AND version.content IS NOT NULL;  -- it stands already
    IF present IS NOT NULL THEN
      EXECUTE format('DELETE FROM memory.%I AS t WHERE %s', place.source, memory.row_condition(place.source))
        USING place.row_id::jsonb;
    END IF;
    IF version.content IS NOT NULL AND memory.may_stand(subject, place.source, version.content) THEN
      EXECUTE format('INSERT INTO memory.%1$I OVERRIDING SYSTEM VALUE
        SELECT (jsonb_populate_record(NULL::memory.%1$I, $1)).* ON CONFLICT DO NOTHING', place.source) USING version.content;
    END IF;
  END LOOP;
  PERFORM set_config('memory.settling', '', true);
END $$;

-- The condition that finds a row by its key, which is given as the parameter.
CREATE OR REPLACE FUNCTION memory.row_condition(source text) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = ''
AS $$
  SELECT CASE source
    WHEN 'turns' THEN 't.user_id = $1 ->> 0 AND t.session_id = $1 ->> 1 AND t.exchange = $1 ->> 2 AND t.role = $1 ->> 3'
    WHEN 'memory_relationships' THEN 't.id = ($1 ->> 0)::uuid'
    WHEN 'user_brain' THEN 't.user_id = $1 ->> 0 AND t.slug = $1 ->> 1'
    WHEN 'company_brain' THEN 't.org_id = $1 ->> 0 AND t.slug = $1 ->> 1'
    ELSE 't.memory_id = ($1 ->> 0)::bigint' END
$$;

-- A row beside memories, by its key.
CREATE OR REPLACE FUNCTION memory.row_at(source text, row_id text) RETURNS jsonb
  LANGUAGE plpgsql STABLE SET search_path = ''
AS $$
DECLARE
  found jsonb;
BEGIN
  EXECUTE format('SELECT to_jsonb(t) FROM memory.%I AS t WHERE %s', source, memory.row_condition(source))
    INTO found USING row_id::jsonb;
  RETURN found;
END $$;

-- The rows beside memories that runs wrote, as they are now.
CREATE OR REPLACE FUNCTION memory.rows_of(runs text[]) RETURNS TABLE (source text, row_id text)
  LANGUAGE plpgsql STABLE SET search_path = ''
AS $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['memory_relationships', 'goal_assessments', 'belief_graphs', 'user_brain', 'company_brain', 'turns'] LOOP
    IF to_regclass('memory.' || name) IS NOT NULL THEN
      RETURN QUERY EXECUTE format('SELECT %1$L::text, memory.row_key(%1$L, to_jsonb(t)) FROM memory.%1$I AS t WHERE t.run_id = ANY ($1)', name)
        USING runs;
    END IF;
  END LOOP;
END $$;

-- May a row stand again: are the memories there that it is about, and may the person write it today?
CREATE OR REPLACE FUNCTION memory.may_stand(subject text, source text, content jsonb) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = ''
AS $$
  SELECT CASE source
    WHEN 'turns' THEN EXISTS (
        SELECT FROM memory.memories AS m WHERE m.namespace = content ->> 'namespace' AND m.key = content ->> 'key')
      AND EXISTS (SELECT FROM memory.sessions AS s WHERE s.user_id = content ->> 'user_id' AND s.id = content ->> 'session_id')
    WHEN 'memory_relationships' THEN EXISTS (SELECT FROM memory.memories AS m WHERE m.id = (content ->> 'source_id')::bigint)
      AND EXISTS (SELECT FROM memory.memories AS m WHERE m.id = (content ->> 'target_id')::bigint)
    ELSE EXISTS (SELECT FROM memory.memories AS m WHERE m.id = (content ->> 'memory_id')::bigint) END
    AND (content ->> 'user_id' = subject OR content ->> 'user_id' IS NULL AND EXISTS (
      SELECT FROM memory.organisation_members AS m
      WHERE m.organisation_id = content ->> 'org_id' AND m.user_id = subject AND m.accepted_at IS NOT NULL))
$$;
-- end of part

-- part: history
-- A fact that several turns say keeps those that count as its sources.
CREATE OR REPLACE FUNCTION memory.leave_out_sources(subject text, namespaces text[], keys text[]) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
BEGIN
  PERFORM set_config('memory.settling', 'on', true);
  UPDATE memory.memories AS m SET value = jsonb_set(m.value, '{sources}', k.kept)
  FROM unnest(namespaces, keys) AS a (namespace, key)
  JOIN memory.memories AS f ON f.namespace = a.namespace AND f.key = a.key
  CROSS JOIN LATERAL (
    SELECT jsonb_agg(s.source ORDER BY s.n) AS kept
    FROM jsonb_array_elements(CASE jsonb_typeof(f.value -> 'sources') WHEN 'array' THEN f.value -> 'sources' END)
      WITH ORDINALITY AS s (source, n)
    WHERE EXISTS (SELECT FROM memory.turns AS t WHERE t.user_id = subject AND t.session_id = s.source ->> 'session_id'
        AND t.exchange = s.source ->> 'exchange')
      OR NOT EXISTS (SELECT FROM memory.row_history AS h WHERE h.source = 'turns' AND h.settled
        AND h.row_id = jsonb_build_array(subject, s.source -> 'session_id', s.source -> 'exchange', 'user')::text)
  ) AS k
  WHERE m.namespace = f.namespace AND m.key = f.key AND f.user_id = subject AND k.kept <> f.value -> 'sources';
  PERFORM set_config('memory.settling', '', true);
END $$;
-- end of part

-- Settle everything that runs wrote, replaced or deleted. The facts that are being made from what
-- they said are waited for, or find nothing any more.
CREATE OR REPLACE FUNCTION memory.settle_runs(subject text, runs text[])
  RETURNS TABLE (namespace text, key text, outcome text)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
  spaces text[];
  names  text[];
  facts  text[] := '{}';
  -- part: history
  about  text[] := '{}';
  -- end of part
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('facts:' || subject, 0));
  SELECT array_agg(a.namespace), array_agg(a.key) INTO spaces, names FROM (
    SELECT m.namespace, m.key FROM memory.memories AS m WHERE m.run_id = ANY (runs)
    -- part: history
    UNION SELECT h.namespace, h.key FROM memory.memory_history AS h WHERE h.run_id = ANY (runs)
    UNION SELECT h.namespace, h.key FROM memory.memory_history AS h WHERE h.ended_by = ANY (runs)
    -- end of part
  ) AS a;
  FOR namespace, key, outcome IN SELECT * FROM memory.settle(subject, spaces, names) LOOP
    IF outcome IN ('brought_back', 'restored')
      AND namespace = 'users.' || replace(replace(subject, '%', '%25'), '.', '%2E') || '.facts.' THEN
      facts := facts || key;
    END IF;
    RETURN NEXT;
  END LOOP;
  -- part: history
  PERFORM memory.leave_out_sources(subject, spaces, names);
  SELECT coalesce(array_agg(DISTINCT i.about), '{}') INTO about FROM (
    SELECT m.id::text AS about FROM unnest(spaces, names) AS a (namespace, key)
    JOIN memory.memories AS m ON m.namespace = a.namespace AND m.key = a.key
    UNION ALL SELECT a.namespace || a.key FROM unnest(spaces, names) AS a (namespace, key)) AS i;
  PERFORM memory.settle_rows(subject, runs, about);
  -- end of part
  -- What was set aside may be written again under the same key.
  DELETE FROM memory.memory_logs AS l WHERE l.run_id = ANY (runs)
    AND EXISTS (SELECT FROM memory.runs AS r WHERE r.run_id = l.run_id AND r.status <> 'kept');
  PERFORM memory.queue_returned(subject, runs, facts);
END $$;

-- Queue the work on what came back: turns that no facts were made of yet are read, and facts are
-- compared with those that were stored while they were away.
CREATE OR REPLACE FUNCTION memory.queue_returned(subject text, runs text[], facts text[]) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
BEGIN
  IF to_regclass('procrastinate.procrastinate_jobs') IS NOT NULL THEN
    IF facts <> '{}' THEN
      PERFORM procrastinate.procrastinate_defer_jobs_v1(ARRAY[ROW('default', 'compare_facts', 0, 'facts:' || subject, NULL,
        jsonb_build_object('user_id', subject, 'keys', to_jsonb(facts)), NULL)::procrastinate.procrastinate_job_to_defer_v1]);
    END IF;
    PERFORM procrastinate.procrastinate_defer_jobs_v1(ARRAY[ROW('default', 'extract_facts', 0, 'facts:' || subject, NULL,
      jsonb_build_object('user_id', subject, 'session_id', t.session_id), NULL)::procrastinate.procrastinate_job_to_defer_v1])
    FROM (SELECT DISTINCT t.session_id FROM memory.turns AS t
      WHERE t.user_id = subject AND t.run_id = ANY (runs) AND t.extracted_at IS NULL) AS t;
  END IF;
END $$;

-- Lines and heads -------------------------------------------------------------------------------

-- The runs of a line, from a run back to the first.
CREATE OR REPLACE FUNCTION memory.line_of(run text) RETURNS TABLE (run_id text)
  LANGUAGE sql STABLE SET search_path = ''
AS $$
  WITH RECURSIVE line (run_id, parent_run, resumes) AS (
    SELECT r.run_id, r.parent_run, r.resumes FROM memory.runs AS r WHERE r.run_id = run
    UNION
    SELECT r.run_id, r.parent_run, r.resumes FROM line JOIN memory.runs AS r ON r.run_id IN (line.parent_run, line.resumes)
  )
  SELECT line.run_id FROM line
$$;

-- Put a session on the line of a run. The runs of the line that is left, and of no other, are set
-- aside; those of this line that were set aside count again.
CREATE OR REPLACE FUNCTION memory.move_head(subject text, session text, run text) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
  head    text;
  changed text[];
BEGIN
  SELECT s.head_run INTO head FROM memory.sessions AS s WHERE s.user_id = subject AND s.id = session FOR UPDATE;
  WITH onto AS MATERIALIZED (SELECT l.run_id FROM memory.line_of(run) AS l),
  moved AS (
    UPDATE memory.runs AS r SET status = CASE r.status WHEN 'kept' THEN 'left' ELSE 'kept' END
    FROM (
      SELECT l.run_id, 'kept' AS was FROM memory.line_of(head) AS l WHERE l.run_id NOT IN (SELECT onto.run_id FROM onto)
      UNION ALL SELECT onto.run_id, 'left' FROM onto) AS w
    WHERE r.run_id = w.run_id AND r.status = w.was AND r.user_id = subject AND r.session_id = session AND NOT r.detached
    RETURNING r.run_id
  )
  SELECT array_agg(m.run_id) INTO changed FROM moved AS m;
  UPDATE memory.sessions AS s SET head_run = run WHERE s.user_id = subject AND s.id = session;
  IF changed IS NOT NULL THEN
    PERFORM memory.settle_runs(subject, changed);
  END IF;
END $$;

-- Only the person and the service may say where a run of theirs stands.
CREATE OR REPLACE FUNCTION memory.check_runner(subject text) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = ''
AS $$
BEGIN
  IF current_setting('role') = 'authenticated' AND (subject = (SELECT auth.uid())::text) IS NOT TRUE THEN
    RAISE insufficient_privilege USING MESSAGE = 'a run of another user is not for this one';
  END IF;
END $$;

-- Has somebody else written in this run? Then it is theirs.
CREATE OR REPLACE FUNCTION memory.is_anothers(run text, subject text) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = ''
AS $$
  SELECT EXISTS (SELECT FROM memory.audit_logs AS a
    WHERE a.run_id = run AND a.actor NOT IN (subject, 'service_role', 'none'))
$$;

-- A run begins to read memory. Returns the moment that it reads: NULL for the present. `parent` is
-- the last run that had written memory according to the run's state, NULL at the beginning of a
-- thread. Where the state cannot know, the run goes on where the session is.
--
-- Where another run went on from the same place, and wrote, this one is a fork: it reads what that
-- one could read. Where nobody did, it is the end of a branch: the session moves back there.
CREATE OR REPLACE FUNCTION memory.begin_run(
  subject text, session text, of_agent text, run text, thread text, parent text, knows boolean)
  RETURNS timestamptz
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
  head   text;
  whose  text;
  moment timestamptz;
BEGIN
  PERFORM memory.check_runner(subject);
  SELECT r.user_id, r.as_of INTO whose, moment FROM memory.runs AS r WHERE r.run_id = run;
  IF FOUND THEN
    RETURN CASE WHEN whose = subject THEN moment END;
  END IF;
  IF memory.is_anothers(run, subject) THEN
    RETURN NULL;
  END IF;
  SELECT s.head_run INTO head FROM memory.sessions AS s WHERE s.user_id = subject AND s.id = session;
  IF NOT knows THEN
    parent := head;
  ELSIF parent IS DISTINCT FROM head AND head IS NOT NULL THEN
    parent := memory.counted_ancestor(subject, parent);
    IF parent IS DISTINCT FROM head THEN
      SELECT min(r.began_at) INTO moment FROM memory.runs AS r
      WHERE r.user_id = subject AND r.session_id = session AND (r.parent_run = parent OR r.parent_run IS NULL AND parent IS NULL)
        AND r.wrote_at IS NOT NULL AND r.status <> 'undone' AND NOT r.detached;
      IF moment IS NULL AND EXISTS (SELECT FROM memory.runs AS r WHERE r.run_id = parent AND r.user_id = subject AND NOT r.detached) THEN
        PERFORM memory.move_head(subject, session, parent);
      END IF;
    END IF;
  END IF;
  -- No run waits at its start for the disk: `end_run` makes up for what a crash loses.
  PERFORM set_config('synchronous_commit', 'off', true);
  INSERT INTO memory.runs (run_id, user_id, session_id, agent, thread_id, parent_run, as_of)
  VALUES (run, subject, session, of_agent, thread, parent, moment) ON CONFLICT DO NOTHING;
  RETURN moment;
END $$;

-- The first run of a line, from a run back, that nobody undid.
CREATE OR REPLACE FUNCTION memory.counted_ancestor(subject text, run text) RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = ''
AS $$
DECLARE
  undone memory.runs;
BEGIN
  LOOP
    SELECT * INTO undone FROM memory.runs AS r WHERE r.run_id = run AND r.user_id = subject AND r.status = 'undone';
    EXIT WHEN NOT FOUND;
    run := undone.parent_run;
  END LOOP;
  RETURN run;
END $$;

-- A run has written: the session goes on from it. `began` is the run that began to read for it: it
-- may have been interrupted, and this one have resumed it.
CREATE OR REPLACE FUNCTION memory.end_run(
  subject text, session text, of_agent text, run text, began text, parent text, knows boolean) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
  head  text;
  mine  memory.runs;
  first memory.runs;
BEGIN
  PERFORM memory.check_runner(subject);
  parent := nullif(parent, run);
  SELECT s.head_run INTO head FROM memory.sessions AS s WHERE s.user_id = subject AND s.id = session FOR UPDATE;
  SELECT * INTO mine FROM memory.runs AS r WHERE r.run_id = run;
  IF mine.user_id <> subject OR mine.run_id IS NULL AND memory.is_anothers(run, subject) THEN
    RETURN;
  ELSIF mine.run_id IS NOT NULL THEN
    UPDATE memory.runs AS r SET wrote_at = now() WHERE r.run_id = run AND r.wrote_at IS NULL;
  ELSE
    SELECT * INTO first FROM memory.runs AS r WHERE r.run_id = nullif(began, run);
    IF first.user_id <> subject THEN
      first := NULL;
    END IF;
    INSERT INTO memory.runs (run_id, user_id, session_id, agent, parent_run, resumes, began_at, as_of, wrote_at)
    VALUES (run, subject, session, of_agent,
      CASE WHEN first.run_id IS NOT NULL THEN first.parent_run WHEN knows THEN memory.counted_ancestor(subject, parent) ELSE head END,
      CASE WHEN first.wrote_at IS NULL THEN first.run_id END, coalesce(first.began_at, now()), first.as_of, now())
    ON CONFLICT DO NOTHING RETURNING * INTO mine;
  END IF;
  IF mine.run_id IS NULL OR head = run OR mine.status = 'undone' THEN
    NULL;  -- somebody else was first, or it has ended already, or it was undone
  ELSIF head IS NULL OR head = mine.parent_run THEN
    UPDATE memory.sessions AS s SET head_run = run WHERE s.user_id = subject AND s.id = session;
  ELSE
    PERFORM memory.move_head(subject, session, run);
  END IF;
END $$;

-- Undo and redo ---------------------------------------------------------------------------------

-- Undo what runs wrote to memory, as if they had never been. With a thread, only runs of it. Runs
-- that an undone one resumed go with it. Says how each address changed. Undoing again changes
-- nothing. A run that is under way stores nothing more.
CREATE OR REPLACE FUNCTION memory.undo_runs(
  runs text[], subject text DEFAULT NULL, only_thread text DEFAULT NULL, detaches boolean DEFAULT false)
  RETURNS TABLE (namespace text, key text, outcome text)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
  whose  text;
  undone text[];
BEGIN
  IF current_setting('role') = 'authenticated' THEN
    PERFORM memory.check_subject(subject);
  END IF;
  PERFORM pg_advisory_xact_lock(k.key) FROM (
    SELECT memory.run_lock('run', id) AS key FROM unnest(runs) AS id ORDER BY key) AS k;
  PERFORM memory.note_runs(runs, subject, only_thread);
  FOR whose IN
    SELECT DISTINCT r.user_id FROM memory.runs AS r WHERE r.run_id = ANY (runs) AND (subject IS NULL OR r.user_id = subject)
      AND (only_thread IS NULL OR r.thread_id = only_thread)
  LOOP
    WITH RECURSIVE gone (run_id, resumes) AS (
      SELECT r.run_id, r.resumes FROM memory.runs AS r WHERE r.run_id = ANY (runs) AND r.user_id = whose
        AND (only_thread IS NULL OR r.thread_id = only_thread)
      UNION SELECT r.run_id, r.resumes FROM gone JOIN memory.runs AS r ON r.run_id = gone.resumes AND r.user_id = whose
    ), noted AS (
      UPDATE memory.runs AS r SET status = 'undone', detached = r.detached OR detaches FROM gone
      WHERE r.run_id = gone.run_id RETURNING r.run_id
    )
    SELECT array_agg(n.run_id) INTO undone FROM noted AS n;
    UPDATE memory.sessions AS s SET head_run = memory.counted_ancestor(whose, s.head_run)
    WHERE s.user_id = whose AND s.head_run = ANY (undone);
    IF NOT detaches THEN
      INSERT INTO memory.deleted_runs (run_id, thread_id) SELECT u.id, '' FROM unnest(undone) AS u (id) ON CONFLICT DO NOTHING;
    END IF;
    RETURN QUERY SELECT * FROM memory.settle_runs(whose, undone);
    INSERT INTO memory.audit_logs (actor, action, user_id, data)
    VALUES (memory.actor(), 'memory.undo', whose, jsonb_build_object('runs', to_jsonb(undone)));
  END LOOP;
END $$;

-- Runs that wrote memory without `begin_run`, such as those of an earlier version: whose they are,
-- the records say.
CREATE OR REPLACE FUNCTION memory.note_runs(runs text[], subject text, only_thread text) RETURNS void
  LANGUAGE sql SET search_path = ''
AS $$
  INSERT INTO memory.runs (run_id, user_id, session_id, thread_id, began_at)
  SELECT DISTINCT ON (a.run_id) a.run_id, a.actor, coalesce(a.thread_id, a.run_id), a.thread_id, a.at
  FROM memory.audit_logs AS a
  WHERE a.run_id = ANY (runs) AND (only_thread IS NULL OR a.thread_id = only_thread)
    AND NOT EXISTS (SELECT FROM memory.runs AS r WHERE r.run_id = a.run_id)
    AND a.action IN ('memory.insert', 'memory.update', 'memory.delete')
    AND a.actor NOT IN ('service_role', 'none', 'postgres') AND (subject IS NULL OR a.actor = subject)
  ORDER BY a.run_id, a.id
  ON CONFLICT DO NOTHING
$$;

-- Keep runs again that were undone or left, with what the same run resumed. What counts and was
-- written later stays.
CREATE OR REPLACE FUNCTION memory.redo_runs(runs text[], subject text)
  RETURNS TABLE (namespace text, key text, outcome text)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
  kept text[];
BEGIN
  IF current_setting('role') = 'authenticated' THEN
    PERFORM memory.check_subject(subject);
  END IF;
  WITH RECURSIVE back (run_id, resumes) AS (
    SELECT r.run_id, r.resumes FROM memory.runs AS r WHERE r.run_id = ANY (runs) AND r.user_id = subject
    UNION SELECT r.run_id, r.resumes FROM back JOIN memory.runs AS r ON r.run_id = back.resumes AND r.user_id = subject
  ), noted AS (
    UPDATE memory.runs AS r SET status = 'kept' FROM back
    WHERE r.run_id = back.run_id AND r.status <> 'kept' RETURNING r.run_id
  )
  SELECT array_agg(n.run_id) INTO kept FROM noted AS n;
  IF kept IS NULL THEN
    RETURN;
  END IF;
  DELETE FROM memory.deleted_runs AS d WHERE d.run_id = ANY (kept) AND d.thread_id = '';
  UPDATE memory.sessions AS s SET head_run = r.run_id FROM memory.runs AS r
  WHERE r.run_id = ANY (kept) AND NOT r.detached AND r.wrote_at IS NOT NULL AND s.user_id = subject AND s.id = r.session_id
    AND s.head_run IS NOT DISTINCT FROM memory.counted_ancestor(subject, r.parent_run);
  RETURN QUERY SELECT * FROM memory.settle_runs(subject, kept);
  INSERT INTO memory.audit_logs (actor, action, user_id, data)
  VALUES (memory.actor(), 'memory.redo', subject, jsonb_build_object('runs', to_jsonb(kept)));
END $$;

-- Tables with rows about persons. The vectors of earlier versions are exported by pages, too.
CREATE OR REPLACE FUNCTION memory.personal_tables()
  RETURNS TABLE (name text, columns text[], pages_by text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
AS $$
  SELECT format('%I.%I', n.nspname, c.relname),
    array_agg(a.attname::text ORDER BY a.attname) FILTER (
      WHERE a.attname = 'user_id' OR (n.nspname = 'memory' AND a.attname = 'actor')
        OR (c.oid = 'memory.users'::regclass AND a.attname = 'id')),
    min(a.attname) FILTER (WHERE a.attname IN ('id', 'memory_id', 'history_id') AND a.atttypid = 'bigint'::regtype AND a.attnotnull)
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  WHERE c.relkind IN ('r', 'p') AND (n.nspname = 'memory' OR EXISTS (
    SELECT FROM memory.personal_business_tables AS b WHERE (b.table_schema, b.table_name) = (n.nspname, c.relname)))
  GROUP BY 1 HAVING count(*) FILTER (
    WHERE a.attname = 'user_id' OR (n.nspname = 'memory' AND a.attname = 'actor')
      OR (c.oid = 'memory.users'::regclass AND a.attname = 'id')) > 0
  ORDER BY 1
$$;

-- Delete all state of threads. Their runs that are under way store nothing more: those that have
-- written here, and those that are given. What the threads said stays in memory; a thread that is
-- begun under the same id begins anew. Returns the number of rows by table.
CREATE OR REPLACE FUNCTION memory.delete_threads(threads text[], runs text[] DEFAULT '{}')
  RETURNS jsonb
  LANGUAGE plpgsql SET search_path = ''
AS $$
DECLARE deleted jsonb := '{}'; name text; n bigint;
BEGIN
  PERFORM pg_advisory_xact_lock(k.key) FROM (
    SELECT memory.run_lock('thread', id) AS key FROM unnest(threads) AS id ORDER BY key) AS k;
  UPDATE memory.sessions AS s SET head_run = NULL FROM memory.runs AS r
  WHERE r.thread_id = ANY (threads) AND s.user_id = r.user_id AND s.id = r.session_id AND s.head_run IS NOT NULL;
  UPDATE memory.runs AS r SET detached = true WHERE r.thread_id = ANY (threads) AND NOT r.detached;
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

-- Erase one memory for good, or what is left of one that was forgotten: the item with its vectors
-- and relationships, its earlier versions, what was recorded of its relationships, belief and goal,
-- and the query of every recall that found it. NULL if there is nothing. Digests stay, which the
-- seals need. So do the records of who wrote it and when: they hold its address, and no text.
CREATE OR REPLACE FUNCTION memory.erase_memory(
  in_namespace text, of_key text, expected timestamptz)
  RETURNS memory.erasures
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
  certificate memory.erasures;
  owner       text := replace(replace(split_part(in_namespace, '.', 2), '%2E', '.'), '%25', '%');
  labels      jsonb := to_jsonb(string_to_array(left(in_namespace, -1), '.'));
  memories    text[];
  counted     bigint;
BEGIN
  IF NOT memory.may_erase(in_namespace) THEN
    RETURN NULL;
  ELSIF expected IS NOT NULL THEN
    PERFORM memory.expect_versions(ARRAY[in_namespace], ARRAY[of_key], ARRAY[expected]);
  END IF;
  SELECT array_agg(DISTINCT known.id::text) INTO memories FROM (
    SELECT m.id FROM memory.memories AS m WHERE m.namespace = in_namespace AND m.key = of_key
    -- part: history
    UNION ALL
    SELECT h.memory_id FROM memory.memory_history AS h WHERE h.namespace = in_namespace AND h.key = of_key
    -- end of part
  ) AS known (id);
  IF memories IS NULL THEN
    RETURN NULL;
  END IF;
  certificate.id := gen_random_uuid();
  certificate.kind := 'memory';
  certificate.subject := memory.erased_address(in_namespace, of_key);
  certificate.erased := '{}';

  SELECT count(*) INTO counted FROM memory.memory_embeddings AS e WHERE e.namespace = in_namespace AND e.key = of_key;
  certificate.erased := certificate.erased || jsonb_build_object('memory.memory_embeddings', counted);
  -- The adapters are told of it, as of any other memory that is forgotten.
  DELETE FROM memory.memories AS m WHERE m.namespace = in_namespace AND m.key = of_key;
  GET DIAGNOSTICS counted = ROW_COUNT;
  certificate.erased := certificate.erased || jsonb_build_object('memory.memories', counted);

  PERFORM set_config('memory.erasing', certificate.id::text, true);
  -- part: history
  WITH gone AS (
    DELETE FROM memory.memory_history AS h WHERE h.namespace = in_namespace AND h.key = of_key
    RETURNING h.id, memory.record_digest(h) AS digest
  )
  INSERT INTO memory.erased_records SELECT 'memory_history', g.id, g.digest, certificate.id FROM gone AS g;
  GET DIAGNOSTICS counted = ROW_COUNT;
  certificate.erased := certificate.erased || jsonb_build_object('memory.memory_history', counted);
  DELETE FROM memory.row_history AS r WHERE r.about = ANY (memories || (in_namespace || of_key)) OR r.also_about = ANY (memories);
  GET DIAGNOSTICS counted = ROW_COUNT;
  certificate.erased := certificate.erased || jsonb_build_object('memory.row_history', counted);
  -- end of part
  WITH gone AS (
    DELETE FROM memory.audit_logs AS a
    WHERE (a.user_id = owner AND starts_with(in_namespace, 'users.') OR a.org_id = owner AND starts_with(in_namespace, 'orgs.'))
      AND (a.data ->> 'memory_id' = ANY (memories) OR a.data ->> 'source_id' = ANY (memories) OR a.data ->> 'target_id' = ANY (memories))
    RETURNING a.id, memory.record_digest(a) AS digest
  )
  INSERT INTO memory.erased_records SELECT 'audit_logs', g.id, g.digest, certificate.id FROM gone AS g;
  GET DIAGNOSTICS counted = ROW_COUNT;
  certificate.erased := certificate.erased || jsonb_build_object('memory.audit_logs', counted);

  IF starts_with(in_namespace, 'users.') THEN
    UPDATE memory.recall_receipts AS r SET query = '',
      chosen = (SELECT coalesce(jsonb_agg(c.found ORDER BY c.n), '[]') FROM jsonb_array_elements(r.chosen) WITH ORDINALITY AS c (found, n)
        WHERE (c.found -> 'namespace', c.found ->> 'key') IS DISTINCT FROM (labels, of_key)),
      nearly = (SELECT coalesce(jsonb_agg(c.found ORDER BY c.n), '[]') FROM jsonb_array_elements(r.nearly) WITH ORDINALITY AS c (found, n)
        WHERE (c.found -> 'namespace', c.found ->> 'key') IS DISTINCT FROM (labels, of_key))
    WHERE r.user_id = owner AND EXISTS (
      SELECT FROM jsonb_array_elements(r.chosen || r.nearly) AS c (found)
      WHERE (c.found -> 'namespace', c.found ->> 'key') = (labels, of_key));
    GET DIAGNOSTICS counted = ROW_COUNT;
    certificate.erased := certificate.erased || jsonb_build_object('memory.recall_receipts', counted);
    -- A digest of a short text could be guessed; without it, a retry of the write still changes nothing.
    UPDATE memory.memory_logs AS l SET digest = NULL
    WHERE l.user_id = owner AND l.memories @> jsonb_build_array(jsonb_build_array(labels, of_key));
  END IF;

  SELECT coalesce(jsonb_object_agg(e.key, e.value), '{}') INTO certificate.erased
  FROM jsonb_each(certificate.erased) AS e WHERE e.value <> '0';
  -- The name of whoever did it would go with them, if they are erased later.
  certificate := memory.certify_erasure(certificate, CASE WHEN current_setting('role') = 'service_role' THEN memory.actor()
    WHEN starts_with(in_namespace, 'orgs.') THEN 'an administrator' ELSE 'the person' END);
  PERFORM set_config('memory.erasing', '', true);
  RETURN certificate;
END $$;

REVOKE ALL ON FUNCTION
  memory.may_settle(text, text), memory.counts(text), memory.settle(text, text[], text[]),
  memory.stand(memory.memories, bigint, timestamptz, boolean), memory.row_key(text, jsonb),
  memory.row_about(text, jsonb), memory.stamp_row(), memory.is_settling(),
  memory.settle_runs(text, text[]), memory.queue_returned(text, text[], text[]), memory.line_of(text),
  memory.move_head(text, text, text), memory.check_runner(text), memory.is_anothers(text, text),
  memory.begin_run(text, text, text, text, text, text, boolean), memory.counted_ancestor(text, text),
  memory.end_run(text, text, text, text, text, text, boolean),
  memory.undo_runs(text[], text, text, boolean), memory.note_runs(text[], text, text),
  memory.redo_runs(text[], text)
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION
  memory.begin_run(text, text, text, text, text, text, boolean),
  memory.end_run(text, text, text, text, text, text, boolean),
  memory.undo_runs(text[], text, text, boolean), memory.redo_runs(text[], text), memory.is_settling()
  TO authenticated, service_role;
-- part: history
REVOKE ALL ON FUNCTION
  memory.keep_version(), memory.keep_row(), memory.settle_rows(text, text[], text[]),
  memory.row_condition(text), memory.row_at(text, text), memory.rows_of(text[]),
  memory.may_stand(text, text, jsonb), memory.leave_out_sources(text, text[], text[])
  FROM PUBLIC, anon, authenticated, service_role;
-- end of part

-- The past --------------------------------------------------------------------------------------

-- part: history
-- The moment that the current transaction reads.
CREATE OR REPLACE FUNCTION memory.moment() RETURNS timestamptz
  LANGUAGE sql STABLE PARALLEL SAFE SET search_path = ''
AS $$ SELECT nullif(current_setting('memory.as_of', true), '')::timestamptz $$;

-- The versions that stood at that moment and do not stand now. What the person wanted gone has no
-- past, and neither has what was there before it at the same address.
CREATE OR REPLACE VIEW memory.versions_then WITH (security_invoker = true) AS
SELECT h.id, h.memory_id, h.namespace, h.key, h.value,
  -- one that ended before words were kept
  CASE WHEN h.position IS NULL THEN to_tsvector('english', h.value ->> 'content') ELSE h.document END AS document,
  coalesce(h.position, 1) AS position, h.user_id, h.org_id, h.agent_id, h.session_id, h.thread_id, h.run_id,
  h.checkpoint_id, h.valid_from
FROM memory.memory_history AS h
WHERE h.valid_to > memory.moment() AND h.valid_from <= memory.moment() AND NOT h.expired
  AND (h.ttl_minutes IS NULL OR h.valid_from + h.ttl_minutes * interval '1 minute' > memory.moment())
  AND NOT EXISTS (
    SELECT FROM memory.memory_history AS f
    WHERE f.namespace = h.namespace AND f.key = h.key AND f.valid_to >= h.valid_to AND f.forgotten);

-- Memories, vectors and the rows beside them, as they stood at the moment, with the columns that
-- reads use. A statement on one of the tables reads the past by naming its view instead.
CREATE OR REPLACE VIEW memory.memories_then WITH (security_invoker = true) AS
SELECT m.id, m.namespace, m.key, m.value, m.document, m.position, m.user_id, m.org_id, m.agent_id, m.session_id,
  m.thread_id, m.run_id, m.checkpoint_id, m.task_id, m.created_at, m.updated_at, NULL::timestamptz AS expires_at,
  NULL::float8 AS ttl_minutes, m.importance
FROM memory.memories AS m
WHERE m.updated_at <= memory.moment() AND (m.expires_at IS NULL OR m.expires_at > now())
UNION ALL
SELECT v.memory_id, v.namespace, v.key, v.value, v.document, v.position, v.user_id, v.org_id, v.agent_id, v.session_id,
  v.thread_id, v.run_id, v.checkpoint_id, NULL, v.valid_from, v.valid_from, NULL, NULL,
  CASE WHEN jsonb_typeof(v.value -> 'importance') = 'number' THEN
    round(least(greatest((v.value ->> 'importance')::numeric, 0), 1), 6)::real END
FROM memory.versions_then AS v;

CREATE OR REPLACE VIEW memory.memory_embeddings_then WITH (security_invoker = true) AS
SELECT e.namespace, e.key, e.field, e.model, e.memory_id, e.indexed, e.embedding
FROM memory.memory_embeddings AS e
JOIN memory.memories AS m ON m.namespace = e.namespace AND m.key = e.key
WHERE m.updated_at <= memory.moment()
UNION ALL
SELECT v.namespace, v.key, e.field, e.model, v.memory_id, true, e.embedding
FROM memory.versions_then AS v JOIN memory.history_embeddings AS e ON e.history_id = v.id;

CREATE OR REPLACE VIEW memory.turns_then WITH (security_invoker = true) AS
SELECT t.id, t.user_id, t.session_id, t.exchange, t.role, t.agent, t.namespace, t.key, t.thread_id, t.run_id,
  t.checkpoint_id, t.created_at, t.extracted_at
FROM memory.turns AS t WHERE coalesce(t.written_at, t.created_at) <= memory.moment()
UNION ALL
SELECT r.id, h.user_id, r.session_id, r.exchange, r.role, r.agent, r.namespace COLLATE "C", r.key COLLATE "C", r.thread_id,
  r.run_id, r.checkpoint_id, r.created_at, r.extracted_at
FROM memory.row_history AS h CROSS JOIN LATERAL jsonb_populate_record(NULL::memory.turns, h.content) AS r
WHERE h.source = 'turns' AND h.valid_to > memory.moment() AND h.valid_from <= memory.moment();

CREATE OR REPLACE VIEW memory.goal_assessments_then WITH (security_invoker = true) AS
SELECT t.memory_id, t.user_id, t.status, t.progress, t.assessment, t.created_at, t.updated_at
FROM memory.goal_assessments AS t WHERE coalesce(t.written_at, t.created_at) <= memory.moment()
UNION ALL
SELECT r.memory_id, h.user_id, r.status, r.progress, r.assessment, r.created_at, r.updated_at
FROM memory.row_history AS h CROSS JOIN LATERAL jsonb_populate_record(NULL::memory.goal_assessments, h.content) AS r
WHERE h.source = 'goal_assessments' AND h.valid_to > memory.moment() AND h.valid_from <= memory.moment();

CREATE OR REPLACE VIEW memory.belief_graphs_then WITH (security_invoker = true) AS
SELECT t.memory_id, t.user_id, t.confidence, t.created_at, t.updated_at
FROM memory.belief_graphs AS t WHERE coalesce(t.written_at, t.created_at) <= memory.moment()
UNION ALL
SELECT r.memory_id, h.user_id, r.confidence, r.created_at, r.updated_at
FROM memory.row_history AS h CROSS JOIN LATERAL jsonb_populate_record(NULL::memory.belief_graphs, h.content) AS r
WHERE h.source = 'belief_graphs' AND h.valid_to > memory.moment() AND h.valid_from <= memory.moment();

DO $do$ BEGIN
  IF to_regclass('memory.memory_relationships') IS NOT NULL THEN
    CREATE OR REPLACE VIEW memory.memory_relationships_then WITH (security_invoker = true) AS
    SELECT t.id, t.user_id, t.org_id, t.source_id, t.target_id, t.type, t.strength, t.metadata, t.created_at
    FROM memory.memory_relationships AS t WHERE coalesce(t.written_at, t.created_at) <= memory.moment()
    UNION ALL
    SELECT r.id, h.user_id, h.org_id, r.source_id, r.target_id, r.type COLLATE "C", r.strength, r.metadata, r.created_at
    FROM memory.row_history AS h CROSS JOIN LATERAL jsonb_populate_record(NULL::memory.memory_relationships, h.content) AS r
    WHERE h.source = 'memory_relationships' AND h.valid_to > memory.moment() AND h.valid_from <= memory.moment();
    REVOKE ALL ON memory.memory_relationships_then FROM PUBLIC, anon, authenticated, service_role;
    GRANT SELECT ON memory.memory_relationships_then TO authenticated, service_role;
  END IF;
END $do$;

REVOKE ALL ON memory.versions_then, memory.memories_then, memory.memory_embeddings_then, memory.turns_then,
  memory.goal_assessments_then, memory.belief_graphs_then FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON memory.versions_then, memory.memories_then, memory.memory_embeddings_then, memory.turns_then,
  memory.goal_assessments_then, memory.belief_graphs_then TO authenticated, service_role;
REVOKE ALL ON FUNCTION memory.moment() FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION memory.moment() TO authenticated, service_role;

-- What agents know has a past for its readers, as it has a present.
CREATE INDEX IF NOT EXISTS history_agent ON memory.memory_history (agent_id) WHERE agent_id IS NOT NULL;
ALTER POLICY readable ON memory.memory_history
  USING (user_id = (SELECT auth.uid())::text OR agent_id IS NOT NULL
         OR org_id IN (SELECT memory.my_organisations()));
-- end of part

-- The moment that a recall read; NULL for the present.
ALTER TABLE memory.recall_receipts ADD COLUMN IF NOT EXISTS as_of timestamptz;
