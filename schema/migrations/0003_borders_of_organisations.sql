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
