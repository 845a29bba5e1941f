-- Rows that come past the store, over PostgREST or SQL, have no words and no vectors, or those of
-- an older value. They are marked by an empty document, and a job indexes them.
CREATE INDEX IF NOT EXISTS memories_unindexed ON memory.memories (id) WHERE document = '';

CREATE OR REPLACE FUNCTION memory.mark_unindexed() RETURNS trigger
  LANGUAGE plpgsql SET search_path = ''
AS $$
BEGIN
  IF TG_OP = 'INSERT' OR OLD.value IS DISTINCT FROM NEW.value THEN
    NEW.document := '';
  END IF;
  RETURN NEW;
END $$;

-- Before the queue is there, as after `supabase db push`, the hourly job finds what is marked.
CREATE OR REPLACE FUNCTION memory.queue_indexing() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
BEGIN
  IF to_regclass('procrastinate.procrastinate_jobs') IS NOT NULL THEN
    PERFORM procrastinate.procrastinate_defer_jobs_v1(ARRAY[ROW('default', 'index_memories', 0, 'index_memories', NULL,
      '{}', NULL)::procrastinate.procrastinate_job_to_defer_v1]);
  END IF;
  RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER memories_unindexed BEFORE INSERT OR UPDATE OF value ON memory.memories
  FOR EACH ROW WHEN (coalesce(current_setting('memory.provenance', true), '') = '')
  EXECUTE FUNCTION memory.mark_unindexed();
CREATE OR REPLACE TRIGGER memories_queued AFTER INSERT OR UPDATE OF value ON memory.memories
  FOR EACH STATEMENT WHEN (coalesce(current_setting('memory.provenance', true), '') = '')
  EXECUTE FUNCTION memory.queue_indexing();

-- Spans of the history do not overlap where a deletion meets an insert.
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
  IF OLD.expires_at <= now() THEN
    -- What a TTL, retention or decay removes leaves no version. Where there are earlier ones, a mark tells the job that
    -- prunes the history to erase them.
    INSERT INTO memory.memory_history (memory_id, namespace, key, operation, value, user_id, org_id, agent_id, run_id,
      valid_from, valid_to, expired)
    SELECT OLD.id, OLD.namespace, OLD.key, lower(TG_OP), '{}', OLD.user_id, OLD.org_id, OLD.agent_id, OLD.run_id,
      OLD.updated_at, greatest(now(), OLD.updated_at), true
    WHERE EXISTS (
      SELECT FROM memory.memory_history AS h WHERE h.namespace = OLD.namespace AND h.key = OLD.key AND h.memory_id = OLD.id);
  ELSIF TG_OP = 'DELETE' OR TG_OP = 'UPDATE' AND OLD.value IS DISTINCT FROM NEW.value THEN
    INSERT INTO memory.memory_history
      (memory_id, namespace, key, operation, value, user_id, org_id, agent_id, run_id, valid_from, valid_to)
    VALUES (OLD.id, OLD.namespace, OLD.key, lower(TG_OP), OLD.value, OLD.user_id, OLD.org_id, OLD.agent_id,
      OLD.run_id, OLD.updated_at, greatest(now(), coalesce(NEW.updated_at, OLD.updated_at)));
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

-- Keys and namespaces of up to 2,300 bytes hold longer sessions' ids.
CREATE OR REPLACE FUNCTION memory.queue_facts(subject text, session text, seconds float8)
  RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
BEGIN
  IF current_setting('role') <> 'service_role' AND subject IS DISTINCT FROM (SELECT auth.uid())::text THEN
    RAISE insufficient_privilege USING MESSAGE = 'facts about another user are not for this one to extract';
  ELSIF octet_length(session) > 2300 THEN
    RAISE invalid_parameter_value USING MESSAGE = 'the session''s id is too long';
  END IF;
  PERFORM procrastinate.procrastinate_defer_jobs_v1(ARRAY[ROW('default', 'extract_facts', 0, 'facts:' || subject, NULL,
    jsonb_build_object('user_id', subject, 'session_id', session),
    now() + least(greatest(seconds, 0), 86400) * interval '1 second'
  )::procrastinate.procrastinate_job_to_defer_v1]);
END $$;

REVOKE ALL ON FUNCTION memory.mark_unindexed(), memory.queue_indexing()
  FROM PUBLIC, anon, authenticated, service_role;

-- Of what there is, memories that came past the store, and texts whose words and vectors were made
-- before texts were normalised. A document is no value: neither history nor audit record it.
UPDATE memory.memories SET document = ''
WHERE document IS NULL AND value ? 'type' AND value ? 'content'
  OR getdatabaseencoding() = 'UTF8' AND document IS NOT NULL
    AND value::text IS NOT NFKC NORMALIZED;

DO $$
BEGIN
  IF to_regclass('procrastinate.procrastinate_jobs') IS NOT NULL
    AND EXISTS (SELECT FROM memory.memories WHERE document = '') THEN
    PERFORM procrastinate.procrastinate_defer_jobs_v1(ARRAY[ROW('default', 'index_memories', 0, 'index_memories', NULL,
      '{}', NULL)::procrastinate.procrastinate_job_to_defer_v1]);
  END IF;
END $$;
