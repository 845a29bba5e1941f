-- One memory can be erased for good, and old records go with their digests kept.

-- Certificates say what was erased.
ALTER TABLE memory.erasures
  ADD COLUMN IF NOT EXISTS kind text CHECK (kind IN ('memory', 'retention', 'migration'));

-- What the certificate of a memory that was erased for good is known by.
CREATE OR REPLACE FUNCTION memory.erased_address(in_namespace text, of_key text) RETURNS bytea
  LANGUAGE sql IMMUTABLE SET search_path = ''
AS $$ SELECT sha256(convert_to('memory ' || in_namespace || ' ' || of_key, 'UTF8')) $$;

REVOKE ALL ON FUNCTION memory.erased_address(text, text)
  FROM PUBLIC, anon, authenticated, service_role;

-- Store the certificate of an erasure whose digests are stored, and tell the audit log of it.
CREATE OR REPLACE FUNCTION memory.certify_erasure(certificate memory.erasures, told_actor text)
  RETURNS memory.erasures
  LANGUAGE plpgsql SET search_path = ''
AS $$
BEGIN
  certificate.erased_at := now();
  certificate.digest := memory.erasure_digest(certificate);
  INSERT INTO memory.erasures SELECT certificate.*;
  INSERT INTO memory.audit_logs (actor, action, data, event_id) VALUES (told_actor, 'memory.erased',
    jsonb_build_object('digest', encode(certificate.digest, 'hex'), 'rows', certificate.erased), certificate.id);
  RETURN certificate;
END $$;

-- May whoever acts erase the memory at an address for good? Its user may, through an agent only
-- where that agent may write; an administrator of its organisation; and the service. A member and
-- a reader of what agents know are refused; to everybody else it is not there.
CREATE OR REPLACE FUNCTION memory.may_erase(in_namespace text) RETURNS boolean
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
  owner text := replace(replace(split_part(in_namespace, '.', 2), '%2E', '.'), '%25', '%');
  scope text := split_part(in_namespace, '.', 3);
BEGIN
  IF current_setting('role') = 'service_role' THEN
    RETURN true;
  ELSIF starts_with(scope, 'agent:') AND scope IS DISTINCT FROM coalesce(memory.agent_label(), scope) THEN
    RETURN false;
  ELSIF starts_with(in_namespace, 'users.') THEN
    RETURN coalesce(owner = (SELECT auth.uid())::text, false);
  ELSIF starts_with(in_namespace, 'orgs.') AND owner IN (SELECT memory.my_organisations(true)) THEN
    RETURN true;
  ELSIF starts_with(in_namespace, 'agents.')
    OR starts_with(in_namespace, 'orgs.') AND owner IN (SELECT memory.my_organisations()) THEN
    RAISE insufficient_privilege USING MESSAGE = 'this memory may be read, and not erased';
  END IF;
  RETURN false;
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
  memory.certify_erasure(memory.erasures, text), memory.may_erase(text),
  memory.erase_memory(text, text, timestamptz)
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION memory.erase_memory(text, text, timestamptz)
  TO authenticated, service_role;

-- What expires leaves no version in the history, and marks its earlier ones.
-- part: history
ALTER TABLE memory.memory_history ADD COLUMN IF NOT EXISTS expired boolean NOT NULL DEFAULT false;
CREATE INDEX IF NOT EXISTS history_age ON memory.memory_history USING brin (valid_to);
CREATE INDEX IF NOT EXISTS history_turns ON memory.memory_history (valid_from)
  WHERE value ->> 'type' = 'turn';
CREATE INDEX IF NOT EXISTS history_expired ON memory.memory_history (namespace, key) WHERE expired;
-- end of part

CREATE OR REPLACE FUNCTION memory.record_memory_change() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
BEGIN
  IF current_setting('memory.importing', true) <> '' AND memory.is_importing() THEN
    RETURN NULL;
  END IF;
  -- part: history
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
    (actor, action, user_id, org_id, namespace, key, thread_id, run_id, checkpoint_id, task_id)
  SELECT coalesce(claims ->> 'sub', claims ->> 'role', current_user), 'memory.' || lower(TG_OP),
    coalesce(NEW.user_id, OLD.user_id), coalesce(NEW.org_id, OLD.org_id), coalesce(NEW.namespace, OLD.namespace),
    coalesce(NEW.key, OLD.key), source ->> 'thread_id', source ->> 'run_id', source ->> 'checkpoint_id',
    source ->> 'task_id'
  FROM (SELECT nullif(current_setting('request.jwt.claims', true), '')::jsonb AS claims,
    nullif(current_setting('memory.provenance', true), '')::jsonb AS source) AS transaction;
  RETURN NULL;
END $$;

-- The job that prunes finds old rows by their age.
CREATE INDEX IF NOT EXISTS audit_age ON memory.audit_logs USING brin (at);
CREATE INDEX IF NOT EXISTS receipts_age ON memory.recall_receipts USING brin (at);
CREATE INDEX IF NOT EXISTS executions_age ON memory.agent_executions USING brin (started_at);
CREATE INDEX IF NOT EXISTS logs_age ON memory.memory_logs USING brin (created_at);
