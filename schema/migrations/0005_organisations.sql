-- A membership of an organisation is pending until the person accepts; those that exist are.

-- When the person accepted; NULL while they are only invited, which gives them nothing.
ALTER TABLE memory.organisation_members
  ADD COLUMN IF NOT EXISTS accepted_at timestamptz DEFAULT now();

-- The organisations of the person who asks, as far as they accepted; `administrator` narrows it to
-- those they administer.
-- It runs as the owner, since a policy on the members' table that reads the members' table would
-- never end.
CREATE OR REPLACE FUNCTION memory.my_organisations(administrator boolean DEFAULT false)
  RETURNS SETOF text
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
AS $$
  SELECT organisation_id FROM memory.organisation_members
  WHERE user_id = (SELECT auth.uid())::text AND accepted_at IS NOT NULL AND (role = 'admin' OR NOT administrator)
$$;

-- The memberships of a person, with the names of organisations that they may not read before they
-- accept. The person asks about themselves, the service about anybody.
CREATE OR REPLACE FUNCTION memory.memberships(subject text DEFAULT (auth.uid())::text)
  RETURNS TABLE (organisation_id text, name text, role text, accepted_at timestamptz)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = ''
AS $$
BEGIN
  PERFORM memory.check_subject(subject);
  RETURN QUERY
    SELECT m.organisation_id, o.name, m.role, m.accepted_at
    FROM memory.organisation_members AS m JOIN memory.organisations AS o ON o.id = m.organisation_id
    WHERE m.user_id = subject ORDER BY m.organisation_id;
END $$;

-- Accept an invitation; false where there is none. The person does it themselves, never one of
-- their agents, or the service for them.
CREATE OR REPLACE FUNCTION memory.accept_membership(
  organisation text, subject text DEFAULT (auth.uid())::text) RETURNS boolean
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
BEGIN
  PERFORM memory.check_subject(subject);
  UPDATE memory.organisation_members AS m SET accepted_at = coalesce(m.accepted_at, now())
  WHERE m.organisation_id = organisation AND m.user_id = subject;
  RETURN FOUND;
END $$;

-- Leave an organisation, or decline its invitation; false where there is nothing to leave.
CREATE OR REPLACE FUNCTION memory.leave_organisation(
  organisation text, subject text DEFAULT (auth.uid())::text) RETURNS boolean
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
BEGIN
  PERFORM memory.check_subject(subject);
  DELETE FROM memory.organisation_members AS m WHERE m.organisation_id = organisation AND m.user_id = subject;
  RETURN FOUND;
END $$;

-- Whom a person adds is invited, and nobody accepts for another, nor turns a membership into
-- another's. What the service enters is accepted unless it says otherwise.
CREATE OR REPLACE FUNCTION memory.keep_consent() RETURNS trigger
  LANGUAGE plpgsql SET search_path = ''
AS $$
DECLARE
  me text := (SELECT auth.uid())::text;
BEGIN
  IF me IS NULL THEN
    RETURN NEW;
  ELSIF TG_OP = 'INSERT' THEN
    NEW.accepted_at := CASE WHEN NEW.user_id = me THEN now() END;
  ELSIF (NEW.organisation_id, NEW.user_id) IS DISTINCT FROM (OLD.organisation_id, OLD.user_id) THEN
    RAISE insufficient_privilege USING MESSAGE = 'a membership cannot become another''s: remove it, and invite the other person';
  ELSIF NEW.user_id <> me THEN
    NEW.accepted_at := OLD.accepted_at;
  END IF;
  RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER members_consent BEFORE INSERT OR UPDATE ON memory.organisation_members
  FOR EACH ROW EXECUTE FUNCTION memory.keep_consent();

DROP POLICY IF EXISTS member ON memory.organisation_members;
CREATE POLICY member ON memory.organisation_members FOR SELECT TO authenticated
  USING (user_id = (SELECT auth.uid())::text
    OR organisation_id IN (SELECT memory.my_organisations()));
DROP POLICY IF EXISTS removed_by_administrator ON memory.organisation_members;
DROP POLICY IF EXISTS removed ON memory.organisation_members;
CREATE POLICY removed ON memory.organisation_members FOR DELETE TO authenticated
  USING (user_id = (SELECT auth.uid())::text
    OR organisation_id IN (SELECT memory.my_organisations(true)));

REVOKE ALL ON FUNCTION
  memory.my_organisations(boolean), memory.memberships(text),
  memory.accept_membership(text, text), memory.leave_organisation(text, text),
  memory.keep_consent() FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION
  memory.my_organisations(boolean), memory.memberships(text),
  memory.accept_membership(text, text), memory.leave_organisation(text, text)
  TO authenticated, service_role;

-- Who may not delete an organisation's memory cannot let it expire sooner either: a live item keeps
-- the longer of its two lives, when it is put, too.
CREATE OR REPLACE FUNCTION memory.keep_life() RETURNS trigger
  LANGUAGE plpgsql SET search_path = ''
AS $$
BEGIN
  IF auth.uid() IS NOT NULL AND (OLD.expires_at > now()) IS NOT FALSE
    AND OLD.org_id NOT IN (SELECT memory.my_organisations(true)) THEN
    NEW.ttl_minutes := CASE WHEN OLD.expires_at IS NULL THEN OLD.ttl_minutes
      ELSE greatest(OLD.ttl_minutes, NEW.ttl_minutes) END;
    NEW.expires_at := CASE WHEN OLD.expires_at IS NOT NULL THEN greatest(OLD.expires_at, NEW.expires_at) END;
  END IF;
  RETURN NEW;
END $$;

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

CREATE OR REPLACE TRIGGER memories_life BEFORE UPDATE OF expires_at, ttl_minutes ON memory.memories
  FOR EACH ROW WHEN (OLD.org_id IS NOT NULL AND NEW.expires_at IS NOT NULL)
  EXECUTE FUNCTION memory.keep_life();
-- One that was made to expire sooner, or to live on less long, is recorded, though its value stays.
CREATE OR REPLACE TRIGGER memories_expiry_recorded AFTER UPDATE OF expires_at, ttl_minutes
  ON memory.memories
  FOR EACH ROW WHEN (OLD.updated_at = NEW.updated_at
    AND (OLD.ttl_minutes IS DISTINCT FROM NEW.ttl_minutes
      OR coalesce(NEW.expires_at, 'infinity') < coalesce(OLD.expires_at, 'infinity')))
  EXECUTE FUNCTION memory.record_memory_change();
REVOKE ALL ON FUNCTION memory.keep_life() FROM PUBLIC, anon, authenticated, service_role;

-- Without its slug a memory is gone from the brain. Restrictive: beside the policy above.
DROP POLICY IF EXISTS removable ON memory.company_brain;
CREATE POLICY removable ON memory.company_brain AS RESTRICTIVE FOR DELETE TO authenticated
  USING (org_id IN (SELECT memory.my_organisations(true)));

-- Can every reader hold this JSON? Postgres takes numbers of 130,000 digits and deep nesting; one
-- such value that a member wrote would end the reads of all. The store itself takes less.
CREATE OR REPLACE FUNCTION memory.is_readable(document jsonb) RETURNS boolean
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = ''
AS $$
  SELECT NOT jsonb_path_exists(document,
    'strict $ ? (exists(@.**{201}) || exists(@.** ? (@ >= 1e1000 || @ <= -1e1000)))')
$$;

REVOKE ALL ON FUNCTION memory.is_readable(jsonb) FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION memory.is_readable(jsonb) TO authenticated, service_role;

CREATE OR REPLACE FUNCTION memory.log_event(
  about text, event_type text, details jsonb, event_id uuid)
  RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
BEGIN
  IF current_setting('role') <> 'service_role' AND about IS DISTINCT FROM (SELECT auth.uid())::text THEN
    RAISE insufficient_privilege USING MESSAGE = 'an event about another user cannot be logged';
  ELSIF starts_with(event_type, 'memory.') THEN
    RAISE insufficient_privilege USING MESSAGE = 'events that begin with memory. are recorded by triggers alone';
  ELSIF NOT memory.is_readable(details) THEN
    RAISE invalid_parameter_value USING MESSAGE = 'the details are nested too deep, or have a number of too many digits';
  END IF;
  INSERT INTO memory.audit_logs (actor, action, user_id, data, event_id)
  VALUES (memory.actor(), event_type, about, details, log_event.event_id)
  ON CONFLICT DO NOTHING;
END $$;

-- What people write and others read is checked when it is written; rows from before are left.
DO $$
DECLARE
  held record;
BEGIN
  FOR held IN
    SELECT c.oid::regclass AS name, w.rule, w.condition FROM (VALUES
      ('users', 'profile_readable', 'memory.is_readable(profile)'),
      ('memories', 'value_readable', 'memory.is_readable(value)'),
      ('memories', 'ttl_bounded', 'ttl_minutes BETWEEN 0 AND 527040000'),
      ('memory_relationships', 'metadata_readable', 'memory.is_readable(metadata)'),
      ('sessions', 'metadata_readable', 'memory.is_readable(metadata)'),
      ('memory_logs', 'memories_readable', 'memory.is_readable(memories)'),
      ('goal_assessments', 'assessment_readable', 'memory.is_readable(assessment)'),
      ('cognitive_metrics', 'metadata_readable', 'memory.is_readable(metadata)'),
      ('files', 'metadata_readable', 'memory.is_readable(metadata)')
    ) AS w (source, rule, condition)
    JOIN pg_catalog.pg_class AS c ON c.oid = to_regclass('memory.' || w.source)
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_constraint AS k WHERE k.conrelid = c.oid AND k.conname = w.rule)
  LOOP
    EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I CHECK (%s) NOT VALID', held.name, held.rule, held.condition);
  END LOOP;
END $$;

-- An upsert over PostgREST sets every column that it sends, the address, too: hence these may be
-- updated, and here they stay as they are.
CREATE OR REPLACE FUNCTION memory.keep_address() RETURNS trigger
  LANGUAGE plpgsql SET search_path = ''
AS $$
BEGIN
  IF (NEW.namespace, NEW.key) IS DISTINCT FROM (OLD.namespace, OLD.key) THEN
    RAISE insufficient_privilege
      USING MESSAGE = 'the namespace and key of an item cannot change: store it anew, and delete the old one';
  END IF;
  NEW.position := OLD.position;
  RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER memories_address BEFORE UPDATE OF namespace, key, position ON memory.memories
  FOR EACH ROW EXECUTE FUNCTION memory.keep_address();
REVOKE ALL ON FUNCTION memory.keep_address() FROM PUBLIC, anon, authenticated, service_role;
GRANT UPDATE (namespace, key, position) ON memory.memories TO authenticated, service_role;
