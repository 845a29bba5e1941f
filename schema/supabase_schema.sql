-- Graph-Native Memory: the whole schema, as a new database gets it.
--
-- Applies to hosted Supabase (as the role `postgres`, which is not a superuser) and to any
-- Postgres 15 or newer that `local_supabase.sql` has prepared. Running it again changes nothing
-- that is already there. A database that is in use comes here by the steps in `migrations/`:
-- whatever changes in this file is a step there, too, and a test shows that the steps make what
-- this file makes.
--
-- Order: what all share first; then one noun after another, each a table with its indexes,
-- functions, triggers, row-level security, policies and grants. A noun stands below those that
-- it refers to. Text between `-- part: …` and `-- end of part` is left out of a database that is
-- made without that part.
--
-- A namespace is stored as its labels, each followed by a dot: ("users", "u1", "facts") is
-- 'users.u1.facts.'. With COLLATE "C" a scope is then one range of the primary key, 'users.u1.'
-- up to 'users.u1/', and a sibling such as 'users.u10.' can never fall into it. A label escapes
-- '.' as %2E and '%' as %25. The owner of a namespace is generated from its first two labels, in
-- the column's own expression: calling a function would cost more than the rest of the row.
--
-- Row-level security has three patterns: a person's rows are theirs; an organisation's rows are
-- its members' (administrators manage them); the knowledge of agents is read by everybody who is
-- signed in, and written by the service, which no policy binds. Where a row points at a memory,
-- the policy looks that memory up as the person who writes: a memory that they may not see is
-- not there for them, and a foreign key cannot reveal it. A policy has no IF NOT EXISTS: each is
-- dropped and made again, in the transaction that applies this file.
--
-- Grants: nothing for `anon`, nothing by default. Each table and function is closed first, then
-- opened.

SET client_min_messages = warning;

-- Extensions and schemas ------------------------------------------------------------------------

CREATE SCHEMA IF NOT EXISTS extensions;
CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA extensions;
CREATE SCHEMA IF NOT EXISTS memory;
-- The checkpointer's tables: thread state, which no API role may reach.
CREATE SCHEMA IF NOT EXISTS langgraph;
-- The queue of background jobs: procrastinate's own tables and functions, which no API role may
-- reach either.
CREATE SCHEMA IF NOT EXISTS procrastinate;

REVOKE ALL ON SCHEMA memory, langgraph, procrastinate
  FROM PUBLIC, anon, authenticated, service_role;
GRANT USAGE ON SCHEMA memory TO authenticated, service_role;
-- Closes what is there already, also what somebody else made in this schema.
REVOKE ALL ON ALL TABLES IN SCHEMA memory FROM PUBLIC, anon, authenticated, service_role;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA memory FROM PUBLIC, anon, authenticated, service_role;

-- Wherever `vector` was installed, its types are found.
SET search_path = memory, extensions, public;

-- Who acts, and where a write comes from --------------------------------------------------------

-- One field of what the current transaction said about where it comes from: run_id, thread_id, …
CREATE OR REPLACE FUNCTION memory.provenance(field text) RETURNS text
  LANGUAGE sql STABLE PARALLEL SAFE SET search_path = ''
AS $$ SELECT nullif(current_setting('memory.provenance', true), '')::jsonb ->> field $$;

-- Who acts in this transaction: the person's id, or the role where there is no person.
CREATE OR REPLACE FUNCTION memory.actor() RETURNS text
  LANGUAGE sql STABLE SET search_path = ''
AS $$
  SELECT coalesce(claims ->> 'sub', claims ->> 'role', current_user)
  FROM (SELECT nullif(current_setting('request.jwt.claims', true), '')::jsonb AS claims) AS request
$$;

-- The label of the scopes that belong to the agent which acts for a person; NULL where the
-- person acts themselves.
CREATE OR REPLACE FUNCTION memory.agent_label() RETURNS text
  LANGUAGE sql STABLE SET search_path = ''
AS $$
  SELECT 'agent:' || replace(replace(
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'agent', '%', '%25'), '.', '%2E')
$$;

REVOKE ALL ON FUNCTION
  memory.provenance(text), memory.actor(), memory.agent_label()
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION
  memory.provenance(text), memory.actor(), memory.agent_label() TO authenticated, service_role;

-- Records: functions of triggers that several tables have ---------------------------------------

-- What is said about memories is recorded as it is after the change, so that the audit log tells
-- how it came about. Business tables may have the same trigger: their rows are recorded under
-- the name that it is given.
CREATE OR REPLACE FUNCTION memory.record_knowledge_change() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
  changed jsonb := CASE TG_OP WHEN 'DELETE' THEN to_jsonb(OLD) ELSE to_jsonb(NEW) END;
BEGIN
  INSERT INTO memory.audit_logs (actor, action, user_id, org_id, data)
  VALUES (memory.actor(), format('memory.%s.%s', TG_ARGV[0], lower(TG_OP)), changed ->> 'user_id', changed ->> 'org_id',
    changed - '{user_id,org_id,run_id,created_at,updated_at}'::text[]);
  RETURN NULL;
END $$;

-- What was recorded stays: nobody changes it, the owner of the tables included, and only an
-- erasure removes it.
CREATE OR REPLACE FUNCTION memory.keep_records() RETURNS trigger
  LANGUAGE plpgsql SET search_path = ''
AS $$
BEGIN
  IF TG_OP = 'DELETE' AND coalesce(current_setting('memory.erasing', true), '') <> ''
    AND TG_TABLE_NAME IN ('audit_logs', 'memory_history') THEN
    RETURN NULL;
  END IF;
  RAISE insufficient_privilege USING MESSAGE = format('%s is append-only', TG_TABLE_NAME);
END $$;

REVOKE ALL ON FUNCTION
  memory.record_knowledge_change(), memory.keep_records()
  FROM PUBLIC, anon, authenticated, service_role;

-- Filters ---------------------------------------------------------------------------------------

-- The definition of filters. Searches use a jsonpath that is compiled to find the same
-- (`search/filters.py`): a property test compares the two. Servers of earlier versions call these.

-- Does a value satisfy one condition of a filter? Numbers compare as numbers, text as text, and
-- nothing else compares; a missing field counts as null. Python checks the operators' names
-- before anything arrives here.
CREATE OR REPLACE FUNCTION memory.satisfies(actual jsonb, condition jsonb) RETURNS boolean
  LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = ''
AS $$
DECLARE
  given   jsonb := coalesce(actual, 'null');
  name    text;
  operand jsonb;
BEGIN
  IF jsonb_typeof(condition) = 'array' THEN
    RETURN jsonb_typeof(given) = 'array'
      AND jsonb_array_length(given) = jsonb_array_length(condition)
      AND NOT EXISTS (
        SELECT FROM generate_series(0, jsonb_array_length(condition) - 1) AS i
        WHERE NOT memory.satisfies(given -> i, condition -> i));
  ELSIF jsonb_typeof(condition) <> 'object' THEN
    RETURN given = condition;
  ELSIF NOT EXISTS (SELECT FROM jsonb_object_keys(condition) AS k (field) WHERE starts_with(field, '$')) THEN
    RETURN jsonb_typeof(given) = 'object' AND memory.matches(given, condition);
  END IF;

  FOR name, operand IN SELECT * FROM jsonb_each(condition) LOOP
    IF NOT coalesce(CASE name
      WHEN '$eq'       THEN given = operand
      WHEN '$ne'       THEN given <> operand
      WHEN '$gt'       THEN memory.compare(given, operand) > 0
      WHEN '$gte'      THEN memory.compare(given, operand) >= 0
      WHEN '$lt'       THEN memory.compare(given, operand) < 0
      WHEN '$lte'      THEN memory.compare(given, operand) <= 0
      WHEN '$in'       THEN EXISTS (SELECT FROM jsonb_array_elements(operand) AS e (part) WHERE part = given)
      WHEN '$nin'      THEN NOT EXISTS (SELECT FROM jsonb_array_elements(operand) AS e (part) WHERE part = given)
      WHEN '$exists'   THEN (actual IS NOT NULL) = (operand = 'true')
      WHEN '$contains' THEN CASE jsonb_typeof(given)
        WHEN 'array'  THEN EXISTS (SELECT FROM jsonb_array_elements(given) AS e (part) WHERE part = operand)
        WHEN 'string' THEN jsonb_typeof(operand) = 'string' AND position(operand #>> '{}' IN given #>> '{}') > 0
        ELSE false END
      WHEN '$not'      THEN NOT memory.satisfies(actual, operand)
    END, false) THEN
      RETURN false;
    END IF;
  END LOOP;
  RETURN true;
END $$;

-- -1, 0 or 1 for two numbers or two texts; NULL, which no comparison takes for true, for
-- anything else.
CREATE OR REPLACE FUNCTION memory.compare(a jsonb, b jsonb) RETURNS int
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = ''
AS $$
  SELECT CASE
    WHEN jsonb_typeof(a) = 'number' AND jsonb_typeof(b) = 'number' THEN sign(a::numeric - b::numeric)::int
    WHEN jsonb_typeof(a) = 'string' AND jsonb_typeof(b) = 'string' THEN
      CASE WHEN (a #>> '{}') COLLATE "C" < (b #>> '{}') THEN -1 WHEN (a #>> '{}') COLLATE "C" > (b #>> '{}') THEN 1 ELSE 0 END
  END
$$;

-- Does an item's value match a whole filter?
CREATE OR REPLACE FUNCTION memory.matches(item jsonb, filter jsonb) RETURNS boolean
  LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = ''
AS $$
DECLARE
  name      text;
  condition jsonb;
BEGIN
  FOR name, condition IN SELECT * FROM jsonb_each(filter) LOOP
    IF (CASE name
      WHEN '$and' THEN EXISTS (SELECT FROM jsonb_array_elements(condition) AS c (part) WHERE NOT memory.matches(item, part))
      WHEN '$or'  THEN NOT EXISTS (SELECT FROM jsonb_array_elements(condition) AS c (part) WHERE memory.matches(item, part))
      WHEN '$not' THEN memory.matches(item, condition)
      ELSE NOT coalesce(memory.satisfies(item -> name, condition), false)
    END) THEN
      RETURN false;
    END IF;
  END LOOP;
  RETURN true;
END $$;

-- Does a namespace (as labels) begin or end with a pattern in which '*' stands for any one label?
CREATE OR REPLACE FUNCTION memory.path_matches(path text[], pattern text[], match_type text)
  RETURNS boolean
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = ''
AS $$
  SELECT cardinality(path) >= cardinality(pattern) AND NOT EXISTS (
    SELECT FROM unnest(pattern) WITH ORDINALITY AS wanted (label, n)
    WHERE label <> '*' AND label <> path[
      n + CASE match_type WHEN 'suffix' THEN cardinality(path) - cardinality(pattern) ELSE 0 END])
$$;

REVOKE ALL ON FUNCTION
  memory.satisfies(jsonb, jsonb), memory.compare(jsonb, jsonb), memory.matches(jsonb, jsonb),
  memory.path_matches(text[], text[], text) FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION
  memory.satisfies(jsonb, jsonb), memory.compare(jsonb, jsonb), memory.matches(jsonb, jsonb),
  memory.path_matches(text[], text[], text) TO authenticated, service_role;

-- JSON that readers can hold --------------------------------------------------------------------

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

-- Versions of the schema ------------------------------------------------------------------------

-- Which versions of this file were applied, so that a start with the same version has nothing to
-- do.
CREATE TABLE IF NOT EXISTS memory.schema_versions (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  digest     text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT now()
);
-- Which parts of this file the database is without.
ALTER TABLE memory.schema_versions ADD COLUMN IF NOT EXISTS left_out text[] NOT NULL DEFAULT '{}';
-- The step of `migrations/` that the database was brought to; NULL in rows from before there
-- were steps.
ALTER TABLE memory.schema_versions ADD COLUMN IF NOT EXISTS step int CHECK (step > 0);

ALTER TABLE memory.schema_versions ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON memory.schema_versions FROM PUBLIC, anon, authenticated, service_role;

-- Users -----------------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS memory.users (
  id           text COLLATE "C" PRIMARY KEY,
  display_name text,
  profile      jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(profile) = 'object'),
  created_at   timestamptz NOT NULL DEFAULT now(),
  updated_at   timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE memory.users ENABLE ROW LEVEL SECURITY;
-- A policy has no IF NOT EXISTS: each is dropped and made again, inside the transaction that
-- applies this file. Where a row points at a memory, the policy looks it up as the person who
-- writes: what they may not see is not there, and a foreign key cannot tell them otherwise.
DROP POLICY IF EXISTS own ON memory.users;
CREATE POLICY own ON memory.users TO authenticated
  USING (id = (SELECT auth.uid())::text) WITH CHECK (id = (SELECT auth.uid())::text);

REVOKE ALL ON memory.users FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON memory.users TO authenticated, service_role;

-- Organisations ---------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS memory.organisations (
  id         text COLLATE "C" PRIMARY KEY,
  name       text NOT NULL,
  profile    jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(profile) = 'object'),
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS memory.organisation_members (
  organisation_id text COLLATE "C" NOT NULL REFERENCES memory.organisations (id) ON DELETE CASCADE,
  user_id         text COLLATE "C" NOT NULL,
  role            text NOT NULL DEFAULT 'member' CHECK (role IN ('member', 'admin')),
  created_at      timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (organisation_id, user_id)
);

-- When the person accepted; NULL while they are only invited, which gives them nothing.
ALTER TABLE memory.organisation_members
  ADD COLUMN IF NOT EXISTS accepted_at timestamptz DEFAULT now();

CREATE INDEX IF NOT EXISTS members_user ON memory.organisation_members (user_id);

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

ALTER TABLE memory.organisations ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS member ON memory.organisations;
CREATE POLICY member ON memory.organisations FOR SELECT TO authenticated
  USING (id IN (SELECT memory.my_organisations()));

REVOKE ALL ON memory.organisations FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON memory.organisations TO authenticated, service_role;
GRANT INSERT, UPDATE, DELETE ON memory.organisations TO service_role;

ALTER TABLE memory.organisation_members ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS member ON memory.organisation_members;
CREATE POLICY member ON memory.organisation_members FOR SELECT TO authenticated
  USING (user_id = (SELECT auth.uid())::text
    OR organisation_id IN (SELECT memory.my_organisations()));
DROP POLICY IF EXISTS added_by_administrator ON memory.organisation_members;
CREATE POLICY added_by_administrator ON memory.organisation_members FOR INSERT TO authenticated
  WITH CHECK (organisation_id IN (SELECT memory.my_organisations(true)));
DROP POLICY IF EXISTS changed_by_administrator ON memory.organisation_members;
CREATE POLICY changed_by_administrator ON memory.organisation_members FOR UPDATE TO authenticated
  USING (organisation_id IN (SELECT memory.my_organisations(true)))
  WITH CHECK (organisation_id IN (SELECT memory.my_organisations(true)));
DROP POLICY IF EXISTS removed_by_administrator ON memory.organisation_members;
DROP POLICY IF EXISTS removed ON memory.organisation_members;
CREATE POLICY removed ON memory.organisation_members FOR DELETE TO authenticated
  USING (user_id = (SELECT auth.uid())::text
    OR organisation_id IN (SELECT memory.my_organisations(true)));

REVOKE ALL ON memory.organisation_members FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON memory.organisation_members TO authenticated, service_role;

REVOKE ALL ON FUNCTION
  memory.my_organisations(boolean), memory.memberships(text),
  memory.accept_membership(text, text), memory.leave_organisation(text, text),
  memory.keep_consent() FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION
  memory.my_organisations(boolean), memory.memberships(text),
  memory.accept_membership(text, text), memory.leave_organisation(text, text)
  TO authenticated, service_role;

-- Memories: the items of the store --------------------------------------------------------------

CREATE TABLE IF NOT EXISTS memory.memories (
  id            bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  namespace     text COLLATE "C" NOT NULL,
  key           text COLLATE "C" NOT NULL,
  value         jsonb NOT NULL,
  document      tsvector,  -- the words of what is searched in the value
  -- place in the namespace, in order of insertion, kept by updates
  position      bigint NOT NULL DEFAULT 1,
  user_id       text COLLATE "C" GENERATED ALWAYS AS (
    CASE WHEN starts_with(namespace, 'users.') THEN
    nullif(replace(replace(split_part(namespace, '.', 2), '%2E', '.'), '%25', '%'), '') END) STORED,
  org_id        text COLLATE "C" GENERATED ALWAYS AS (
    CASE WHEN starts_with(namespace, 'orgs.') THEN
    nullif(replace(replace(split_part(namespace, '.', 2), '%2E', '.'), '%25', '%'), '') END) STORED,
  agent_id      text COLLATE "C" GENERATED ALWAYS AS (
    CASE WHEN starts_with(namespace, 'agents.') THEN
    nullif(replace(replace(split_part(namespace, '.', 2), '%2E', '.'), '%25', '%'), '') END) STORED,
  session_id    text DEFAULT (
    nullif(current_setting('memory.provenance', true), '')::jsonb ->> 'session_id'),
  thread_id     text DEFAULT (
    nullif(current_setting('memory.provenance', true), '')::jsonb ->> 'thread_id'),
  run_id        text DEFAULT (
    nullif(current_setting('memory.provenance', true), '')::jsonb ->> 'run_id'),
  checkpoint_id text DEFAULT (
    nullif(current_setting('memory.provenance', true), '')::jsonb ->> 'checkpoint_id'),
  task_id       text DEFAULT (
    nullif(current_setting('memory.provenance', true), '')::jsonb ->> 'task_id'),
  created_at    timestamptz NOT NULL DEFAULT now(),
  updated_at    timestamptz NOT NULL DEFAULT now(),
  expires_at    timestamptz,
  ttl_minutes   float8,
  importance    real GENERATED ALWAYS AS (
    CASE WHEN jsonb_typeof(value -> 'importance') = 'number' THEN
    round(least(greatest((value ->> 'importance')::numeric, 0), 1), 6) END) STORED,
  PRIMARY KEY (namespace, key),
  -- one, since each is prepared for every statement
  CHECK (right(namespace, 1) = '.' AND jsonb_typeof(value) = 'object')
);

-- The primary key serves reads by scope; these serve policies, foreign keys and jobs.
CREATE INDEX IF NOT EXISTS memories_user ON memory.memories (user_id, updated_at)
  WHERE user_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS memories_org ON memory.memories (org_id, updated_at)
  WHERE org_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS memories_agent ON memory.memories (agent_id) WHERE agent_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS memories_pinned ON memory.memories (user_id, updated_at)
  WHERE value -> 'pinned' = 'true';
CREATE INDEX IF NOT EXISTS memories_run ON memory.memories (run_id) WHERE run_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS memories_expiry ON memory.memories (expires_at)
  WHERE expires_at IS NOT NULL;
-- Its collation sorts like "C" and has another name, so that only who asks for it gets this
-- index: a plan made while the table was empty would otherwise as soon look an address up here,
-- by its namespace alone, as in the primary key.
CREATE INDEX IF NOT EXISTS memories_position
  ON memory.memories (namespace COLLATE "POSIX", position);
-- New words wait in a list that a background job empties; only a list of 16 MB is emptied by the
-- put that fills it.
CREATE INDEX IF NOT EXISTS memories_document ON memory.memories USING gin (document)
  WITH (gin_pending_list_limit = 16384);
-- What waits for its words and vectors.
CREATE INDEX IF NOT EXISTS memories_unindexed ON memory.memories (id) WHERE document = '';

-- May whoever asks read everything in a range of namespaces: because it is theirs, an
-- organisation's of theirs, what agents know, or because they are the service? What runs as the
-- owner counts in such ranges only.
CREATE OR REPLACE FUNCTION memory.may_read_all(low text, high text) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = ''
AS $$
  SELECT current_setting('role') = 'service_role' OR EXISTS (
    SELECT FROM (
      SELECT 'users.' || auth.uid() || '.' AS scope
      UNION ALL SELECT 'agents.'
      UNION ALL SELECT 'orgs.' || replace(replace(o.id, '%', '%25'), '.', '%2E') || '.' FROM memory.my_organisations() AS o (id)
    ) AS mine
    WHERE low COLLATE "C" >= mine.scope AND high COLLATE "C" <= left(mine.scope, -1) || '/')
$$;

-- The items of a scope that have some words (each a single lexeme), found by the full-text
-- index: for each word which they are, and how many; no ids and -1 where there are more than
-- `most`. The rarest words come first until `most` ids are together. It runs as the owner, since
-- the index serves nobody whose policy is checked first: hence it repeats the policy before it
-- counts anything, and whoever uses the ids reads the items as themselves again. A document has
-- its owner's word beside its own, so that the index finds one owner's items among all that have
-- a word. The scope is compared by operators that sort like "C" and have no index, so that the
-- words' is the only one to be used.
CREATE OR REPLACE FUNCTION memory.find_words(words tsquery[], low text, high text, most int)
  RETURNS TABLE (n int, frequency bigint, ids bigint[])
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' SET enable_seqscan = off
  SET enable_indexscan = off SET enable_indexonlyscan = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
  me       text := (SELECT auth.uid())::text;
  readable boolean := memory.may_read_all(low, high);
  mine     text[] := ARRAY(SELECT memory.my_organisations());
  agent    text := memory.agent_label();
  owner    text := '@' || split_part(low, '.', 1) || '.' || split_part(low, '.', 2);
  of_owner tsquery := CASE WHEN split_part(low, '.', 2) <> '' THEN
    ('''' || replace(replace(owner, '\', '\\'), '''', '''''') || '''')::tsquery END;
  together bigint := 0;
BEGIN
  FOR n, frequency, ids IN
    SELECT w.n, cardinality(f.ids), f.ids FROM unnest(words) WITH ORDINALITY AS w (word, n) CROSS JOIN LATERAL (
      SELECT ARRAY(
        SELECT m.id FROM memory.memories AS m
        WHERE m.document OPERATOR(pg_catalog.@@) coalesce(w.word && of_owner, w.word) AND m.namespace ~>=~ low AND m.namespace ~<~ high
          AND (readable OR m.user_id = me OR m.agent_id IS NOT NULL OR m.org_id = ANY (mine))
          AND (agent IS NULL OR NOT starts_with(split_part(m.namespace, '.', 3), 'agent:')
            OR split_part(m.namespace, '.', 3) = agent)
        LIMIT most + 1) AS ids
      OFFSET 0  -- or it would be carried out for each mention of the ids
    ) AS f ORDER BY 2
  LOOP
    together := together + frequency;
    IF together > most THEN
      frequency := CASE WHEN frequency > most THEN -1 ELSE frequency END;
      ids := NULL;
    END IF;
    RETURN NEXT;
  END LOOP;
END $$;

-- Compare and set: refuse to go on unless each item is at the version that was read (null: not
-- there). Who expects nothing to be there cannot lock a row, hence the lock on the address.
CREATE OR REPLACE FUNCTION memory.expect_versions(
  namespaces text[], keys text[], versions timestamptz[])
  RETURNS void
  LANGUAGE plpgsql SET search_path = ''
AS $$
DECLARE
  expected record;
  actual   timestamptz;
BEGIN
  FOR expected IN SELECT * FROM unnest(namespaces, keys, versions) AS e (namespace, key, version) LOOP
    PERFORM pg_advisory_xact_lock(hashtextextended(expected.namespace || ' ' || expected.key, 0));
    SELECT m.updated_at INTO actual FROM memory.memories AS m
    WHERE m.namespace = expected.namespace AND m.key = expected.key AND (m.expires_at IS NULL OR m.expires_at > now())
    FOR UPDATE;
    -- To be locked, a row must be one that whoever acts may change.
    IF actual IS NULL AND EXISTS (
      SELECT FROM memory.memories AS m
      WHERE m.namespace = expected.namespace AND m.key = expected.key AND m.updated_at = expected.version
    ) THEN
      RAISE insufficient_privilege USING MESSAGE = 'this item may be read, and not changed';
    ELSIF actual IS DISTINCT FROM expected.version THEN
      RAISE EXCEPTION USING ERRCODE = 'GM409', MESSAGE = 'the item is not at the expected version',
        DETAIL = json_build_array(expected.namespace, expected.key);
    END IF;
  END LOOP;
END $$;

-- After the write: an item that was to be new was made by this transaction, and did not come in
-- between.
CREATE OR REPLACE FUNCTION memory.expect_created(namespaces text[], keys text[]) RETURNS void
  LANGUAGE plpgsql SET search_path = ''
AS $$
DECLARE
  expected record;
BEGIN
  FOR expected IN SELECT * FROM unnest(namespaces, keys) AS e (namespace, key) LOOP
    IF NOT EXISTS (
      SELECT FROM memory.memories AS m
      WHERE m.namespace = expected.namespace AND m.key = expected.key AND m.created_at = now()
    ) THEN
      RAISE EXCEPTION USING ERRCODE = 'GM409', MESSAGE = 'the item is not at the expected version',
        DETAIL = json_build_array(expected.namespace, expected.key);
    END IF;
  END LOOP;
END $$;

-- Does a migration write? Its memories have the times and the history that they had where they
-- come from, and one audit record tells of all that it stores together. Only who owns the
-- tables, acting as nobody else, can say so.
CREATE OR REPLACE FUNCTION memory.is_importing() RETURNS boolean
  LANGUAGE sql STABLE SET search_path = ''
AS $$
  SELECT coalesce(current_setting('memory.importing', true), '') <> '' AND current_setting('role') = 'none'
    AND (SELECT pg_has_role(session_user, c.relowner, 'MEMBER') FROM pg_catalog.pg_class AS c
      WHERE c.oid = 'memory.memories'::regclass)
$$;

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

-- Every change of a person's memories is told to the adapters that the transaction says are
-- switched on, whatever path it takes. Turns are told of by the exchange, and here only when
-- they are forgotten. What an application keeps for itself (no memory under the contract) stays
-- here, as does what changes beside the text.
CREATE OR REPLACE FUNCTION memory.emit_memory_change() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
  changed memory.memories;
BEGIN
  IF current_setting('memory.importing', true) <> '' AND memory.is_importing() THEN
    RETURN NULL;
  END IF;
  changed := CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
  IF changed.user_id IS NOT NULL AND changed.value ? 'type' AND coalesce(current_setting('memory.erasing', true), '') = ''
    AND (TG_OP = 'DELETE' OR changed.value ->> 'type' <> 'turn')
    AND (TG_OP <> 'UPDATE' OR OLD.value -> 'content' IS DISTINCT FROM NEW.value -> 'content'
      OR OLD.value -> 'type' IS DISTINCT FROM NEW.value -> 'type') THEN
    PERFORM memory.fan_out(changed.user_id, jsonb_build_object(
      'kind', CASE TG_OP WHEN 'DELETE' THEN 'memory_forgotten' ELSE 'memory_written' END,
      'namespace', string_to_array(left(changed.namespace, -1), '.'), 'key', changed.key));
  END IF;
  RETURN NULL;
END $$;

-- What comes past the store, over PostgREST or SQL, has no words and no vectors, or those of an
-- older value: the store's transactions tell their provenance, be it an empty one. An empty
-- document marks it, and a job indexes it.
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

CREATE OR REPLACE TRIGGER memories_address BEFORE UPDATE OF namespace, key, position ON memory.memories
  FOR EACH ROW EXECUTE FUNCTION memory.keep_address();
CREATE OR REPLACE TRIGGER memories_life BEFORE UPDATE OF expires_at, ttl_minutes ON memory.memories
  FOR EACH ROW WHEN (OLD.org_id IS NOT NULL AND NEW.expires_at IS NOT NULL)
  EXECUTE FUNCTION memory.keep_life();
CREATE OR REPLACE TRIGGER memories_stamped BEFORE UPDATE OF value ON memory.memories
  FOR EACH ROW EXECUTE FUNCTION memory.stamp_memory();
-- A refreshed expiry is not a change of the memory.
CREATE OR REPLACE TRIGGER memories_recorded AFTER INSERT OR DELETE OR UPDATE OF value
  ON memory.memories
  FOR EACH ROW EXECUTE FUNCTION memory.record_memory_change();
-- One that was made to expire sooner, or to live on less long, is recorded, though its value stays.
CREATE OR REPLACE TRIGGER memories_expiry_recorded AFTER UPDATE OF expires_at, ttl_minutes
  ON memory.memories
  FOR EACH ROW WHEN (OLD.updated_at = NEW.updated_at
    AND (OLD.ttl_minutes IS DISTINCT FROM NEW.ttl_minutes
      OR coalesce(NEW.expires_at, 'infinity') < coalesce(OLD.expires_at, 'infinity')))
  EXECUTE FUNCTION memory.record_memory_change();
CREATE OR REPLACE TRIGGER memories_emitted AFTER INSERT OR DELETE OR UPDATE OF value
  ON memory.memories
  FOR EACH ROW WHEN (strpos(current_setting('memory.provenance', true), '"adapters"') > 0)
  EXECUTE FUNCTION memory.emit_memory_change();
CREATE OR REPLACE TRIGGER memories_unindexed BEFORE INSERT OR UPDATE OF value ON memory.memories
  FOR EACH ROW WHEN (coalesce(current_setting('memory.provenance', true), '') = '')
  EXECUTE FUNCTION memory.mark_unindexed();
CREATE OR REPLACE TRIGGER memories_queued AFTER INSERT OR UPDATE OF value ON memory.memories
  FOR EACH STATEMENT WHEN (coalesce(current_setting('memory.provenance', true), '') = '')
  EXECUTE FUNCTION memory.queue_indexing();

ALTER TABLE memory.memories ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS readable ON memory.memories;
CREATE POLICY readable ON memory.memories FOR SELECT TO authenticated
  USING (user_id = (SELECT auth.uid())::text OR agent_id IS NOT NULL
         OR org_id IN (SELECT memory.my_organisations()));
DROP POLICY IF EXISTS insertable ON memory.memories;
CREATE POLICY insertable ON memory.memories FOR INSERT TO authenticated
  WITH CHECK (user_id = (SELECT auth.uid())::text OR org_id IN (SELECT memory.my_organisations()));
DROP POLICY IF EXISTS changeable ON memory.memories;
CREATE POLICY changeable ON memory.memories FOR UPDATE TO authenticated
  USING (user_id = (SELECT auth.uid())::text OR org_id IN (SELECT memory.my_organisations()))
  WITH CHECK (user_id = (SELECT auth.uid())::text OR org_id IN (SELECT memory.my_organisations()));
DROP POLICY IF EXISTS removable ON memory.memories;
CREATE POLICY removable ON memory.memories FOR DELETE TO authenticated
  USING (user_id = (SELECT auth.uid())::text OR org_id IN (SELECT memory.my_organisations(true)));
-- Where an agent acts for a person, what other agents keep to themselves is closed to it.
-- Restrictive: beside the others.
DROP POLICY IF EXISTS own_agent ON memory.memories;
CREATE POLICY own_agent ON memory.memories AS RESTRICTIVE TO authenticated USING (
  coalesce(split_part(namespace, '.', 3) = (SELECT memory.agent_label()), true)
  OR NOT starts_with(split_part(namespace, '.', 3), 'agent:'));

REVOKE ALL ON memory.memories FROM PUBLIC, anon, authenticated, service_role;
-- Times and provenance are the database's: by default on insert, by trigger later. What may be
-- inserted may be updated, or an upsert would be refused.
GRANT SELECT, DELETE, INSERT (namespace, key, value, document, position, ttl_minutes, expires_at),
  UPDATE (namespace, key, value, document, position, ttl_minutes, expires_at)
  ON memory.memories TO authenticated, service_role;
REVOKE ALL ON FUNCTION
  memory.may_read_all(text, text), memory.find_words(tsquery[], text, text, int),
  memory.expect_versions(text[], text[], timestamptz[]), memory.expect_created(text[], text[]),
  memory.is_importing(), memory.keep_address(), memory.keep_life(), memory.stamp_memory(),
  memory.record_memory_change(), memory.emit_memory_change(), memory.mark_unindexed(),
  memory.queue_indexing() FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION
  memory.may_read_all(text, text), memory.find_words(tsquery[], text, text, int),
  memory.expect_versions(text[], text[], timestamptz[]), memory.expect_created(text[], text[]),
  memory.is_importing() TO authenticated, service_role;

-- Embedding models ------------------------------------------------------------------------------

-- Embedding models: vectors of two models never meet in one comparison.
CREATE TABLE IF NOT EXISTS memory.embedding_models (
  id         smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name       text NOT NULL,
  dimensions int  NOT NULL CHECK (dimensions BETWEEN 1 AND 4000),
  active     boolean NOT NULL DEFAULT false,
  created_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (name, dimensions)
);
-- How a model's vector index is made: IVFFlat of so many lists, else HNSW; what is null is as
-- `create_vector_index` has it.
ALTER TABLE memory.embedding_models
  ADD COLUMN IF NOT EXISTS m               int CHECK (m BETWEEN 2 AND 100),
  ADD COLUMN IF NOT EXISTS ef_construction int CHECK (ef_construction BETWEEN 4 AND 1000),
  ADD COLUMN IF NOT EXISTS lists           int CHECK (lists BETWEEN 1 AND 32768);

CREATE UNIQUE INDEX IF NOT EXISTS embedding_models_active ON memory.embedding_models (active)
  WHERE active;

ALTER TABLE memory.embedding_models ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS readable ON memory.embedding_models;
CREATE POLICY readable ON memory.embedding_models FOR SELECT TO authenticated USING (true);

REVOKE ALL ON memory.embedding_models FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON memory.embedding_models TO authenticated, service_role;
GRANT INSERT, UPDATE ON memory.embedding_models TO service_role;

-- Embeddings of memories ------------------------------------------------------------------------

-- One row for each item and embedded field. A put does not wait for the graph of the vector
-- index: rows enter it when a background job marks them as indexed, and until then a wide search
-- reads them one by one.
CREATE TABLE IF NOT EXISTS memory.memory_embeddings (
  namespace text COLLATE "C" NOT NULL,
  key       text COLLATE "C" NOT NULL,
  field     text COLLATE "C" NOT NULL,
  model     smallint NOT NULL,  -- of embedding_models
  memory_id bigint NOT NULL,    -- of the item, so that signals meet without its address
  indexed   boolean NOT NULL DEFAULT false,
  user_id   text COLLATE "C" GENERATED ALWAYS AS (
    CASE WHEN starts_with(namespace, 'users.') THEN
    nullif(replace(replace(split_part(namespace, '.', 2), '%2E', '.'), '%25', '%'), '') END) STORED,
  org_id    text COLLATE "C" GENERATED ALWAYS AS (
    CASE WHEN starts_with(namespace, 'orgs.') THEN
    nullif(replace(replace(split_part(namespace, '.', 2), '%2E', '.'), '%25', '%'), '') END) STORED,
  agent_id  text COLLATE "C" GENERATED ALWAYS AS (
    CASE WHEN starts_with(namespace, 'agents.') THEN
    nullif(replace(replace(split_part(namespace, '.', 2), '%2E', '.'), '%25', '%'), '') END) STORED,
  embedding halfvec NOT NULL,
  PRIMARY KEY (namespace, key, model, field),
  FOREIGN KEY (namespace, key) REFERENCES memory.memories (namespace, key) ON DELETE CASCADE
);
-- In the row, not in TOAST: no second fetch for each distance. A new table is compact anyway.
ALTER TABLE memory.memory_embeddings ALTER COLUMN embedding SET STORAGE PLAIN;

CREATE INDEX IF NOT EXISTS embeddings_pending ON memory.memory_embeddings (model, namespace)
  WHERE NOT indexed;

-- Does a scope hold so many vectors that the vector index finds the nearest sooner than reading
-- them all? It counts, for whoever asks, no further than needed; as the owner, since a policy
-- would make it look at every row. Reading one of n vectors takes about 0.7 µs; the index takes
-- 1 ms, and 4 µs for each of the vectors that it passes by until it has met `wanted` ones in the
-- scope, which are wanted * N / n of the N there are. The two are equal at the root below.
CREATE OR REPLACE FUNCTION memory.is_wide(low text, high text, model smallint, wanted int)
  RETURNS boolean
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = ''
AS $$
BEGIN
  RETURN memory.may_read_all(low, high) AND EXISTS (
    SELECT FROM memory.memory_embeddings AS e
    WHERE e.namespace >= low AND e.namespace < high AND e.model = is_wide.model
    OFFSET (1000 + sqrt(1e6 + 11.2 * greatest(wanted, 100) * greatest((
      SELECT c.reltuples FROM pg_catalog.pg_class AS c WHERE c.oid = 'memory.memory_embeddings'::regclass), 1000))) / 1.4);
END $$;

-- Hands on whether the vector index is searched. If it is, and is an IVFFlat one, says how much
-- of it: of n lists the √n nearest, and while too few fit a condition as many again, up to four
-- times; after that the scope is read whole sooner. What counts is the index that there is, or
-- the two while one takes the other's place: any of them may be searched. It must be asked
-- before the scan begins, as a condition of it; what it sets ends with the transaction.
CREATE OR REPLACE FUNCTION memory.probe(model smallint, wide boolean) RETURNS boolean
  LANGUAGE plpgsql SET search_path = ''
AS $$
DECLARE
  name   text := 'embeddings_vectors_' || model;
  probes int;
BEGIN
  IF wide THEN
    SELECT ceil(sqrt(max(o.option_value::int))) INTO probes
    FROM pg_class AS c CROSS JOIN pg_options_to_table(c.reloptions) AS o
    WHERE c.relnamespace = 'memory'::regnamespace AND o.option_name = 'lists'
      AND c.relname = ANY (ARRAY[name, name || '_next', name || '_old']);
    IF probes IS NOT NULL THEN
      PERFORM set_config('ivfflat.probes', probes::text, true), set_config('ivfflat.max_probes', (4 * probes)::text, true),
        set_config('ivfflat.iterative_scan', 'relaxed_order', true);
    END IF;
  END IF;
  RETURN wide;
END $$;

-- The vector index of a model, over the rows that are marked as indexed. Its dimensions and its
-- predicate are constants: a statement that carries the same ones is served by it. A vector that
-- comes in keeps fewer neighbours than by default (16), chosen from more candidates (64): as
-- dear to fill, cheaper to search, and where vectors lie in groups fewer are missed. Another
-- choice is made by `graph-memory indexes migrate`, and is kept with the model.
CREATE OR REPLACE FUNCTION memory.create_vector_index(model smallint, dimensions int) RETURNS void
  LANGUAGE plpgsql SET search_path = memory, extensions, public
AS $$
DECLARE
  chosen memory.embedding_models;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('graph-native-memory setup', 0));
  SELECT * INTO chosen FROM memory.embedding_models AS m WHERE m.id = create_vector_index.model;
  EXECUTE format('CREATE INDEX IF NOT EXISTS embeddings_vectors_%s ON memory.memory_embeddings
    USING %s ((embedding::halfvec(%s)) halfvec_cosine_ops) WITH (%s) WHERE model = %s AND indexed', model,
    CASE WHEN chosen.lists IS NULL THEN 'hnsw' ELSE 'ivfflat' END, dimensions,
    CASE WHEN chosen.lists IS NULL
      THEN format('m = %s, ef_construction = %s', coalesce(chosen.m, 10), coalesce(chosen.ef_construction, 112))
      ELSE format('lists = %s', chosen.lists) END, model);
END $$;

-- All at once, for after a bulk load: five times as fast as row by row, but nobody reads or
-- writes vectors meanwhile.
CREATE OR REPLACE FUNCTION memory.rebuild_vector_index(model smallint, dimensions int) RETURNS void
  LANGUAGE plpgsql SET search_path = memory, extensions, public
AS $$
BEGIN
  EXECUTE format('DROP INDEX IF EXISTS memory.embeddings_vectors_%s', model);
  UPDATE memory.memory_embeddings AS e SET indexed = true WHERE e.model = rebuild_vector_index.model AND NOT e.indexed;
  PERFORM memory.create_vector_index(model, dimensions);
END $$;

ALTER TABLE memory.memory_embeddings ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS readable ON memory.memory_embeddings;
CREATE POLICY readable ON memory.memory_embeddings FOR SELECT TO authenticated
  USING (user_id = (SELECT auth.uid())::text OR agent_id IS NOT NULL
         OR org_id IN (SELECT memory.my_organisations()));
DROP POLICY IF EXISTS insertable ON memory.memory_embeddings;
CREATE POLICY insertable ON memory.memory_embeddings FOR INSERT TO authenticated
  WITH CHECK (user_id = (SELECT auth.uid())::text OR org_id IN (SELECT memory.my_organisations()));
DROP POLICY IF EXISTS changeable ON memory.memory_embeddings;
CREATE POLICY changeable ON memory.memory_embeddings FOR UPDATE TO authenticated
  USING (user_id = (SELECT auth.uid())::text OR org_id IN (SELECT memory.my_organisations()))
  WITH CHECK (user_id = (SELECT auth.uid())::text OR org_id IN (SELECT memory.my_organisations()));
DROP POLICY IF EXISTS removable ON memory.memory_embeddings;
CREATE POLICY removable ON memory.memory_embeddings FOR DELETE TO authenticated
  USING (user_id = (SELECT auth.uid())::text OR org_id IN (SELECT memory.my_organisations()));
DROP POLICY IF EXISTS own_agent ON memory.memory_embeddings;
CREATE POLICY own_agent ON memory.memory_embeddings AS RESTRICTIVE TO authenticated USING (
  coalesce(split_part(namespace, '.', 3) = (SELECT memory.agent_label()), true)
  OR NOT starts_with(split_part(namespace, '.', 3), 'agent:'));

REVOKE ALL ON memory.memory_embeddings FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON memory.memory_embeddings TO authenticated, service_role;
REVOKE ALL ON FUNCTION
  memory.is_wide(text, text, smallint, int), memory.probe(smallint, boolean),
  memory.create_vector_index(smallint, int), memory.rebuild_vector_index(smallint, int)
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION
  memory.is_wide(text, text, smallint, int), memory.probe(smallint, boolean)
  TO authenticated, service_role;

-- History of memories ---------------------------------------------------------------------------

-- part: history
-- Old versions only, each with the time span in which it held; what holds now is in `memories`.
CREATE TABLE IF NOT EXISTS memory.memory_history (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  memory_id  bigint NOT NULL,
  namespace  text COLLATE "C" NOT NULL,
  key        text COLLATE "C" NOT NULL,
  operation  text NOT NULL CHECK (operation IN ('update', 'delete')),
  value      jsonb NOT NULL,
  user_id    text COLLATE "C",
  org_id     text COLLATE "C",
  agent_id   text COLLATE "C",
  run_id     text,                                      -- the run that wrote this version
  ended_by   text DEFAULT memory.provenance('run_id'),  -- the run that replaced or deleted it
  valid_from timestamptz NOT NULL,
  valid_to   timestamptz NOT NULL DEFAULT now()
);
-- A mark without a value: this memory expired, and its versions up to here are to be erased.
ALTER TABLE memory.memory_history ADD COLUMN IF NOT EXISTS expired boolean NOT NULL DEFAULT false;

CREATE INDEX IF NOT EXISTS history_memory ON memory.memory_history (namespace, key, valid_to);
CREATE INDEX IF NOT EXISTS history_user ON memory.memory_history (user_id)
  WHERE user_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS history_org ON memory.memory_history (org_id) WHERE org_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS history_run ON memory.memory_history (ended_by)
  WHERE ended_by IS NOT NULL;
-- For the job that prunes. In order of insertion, ages are nearly sorted: BRIN costs a put nothing.
CREATE INDEX IF NOT EXISTS history_age ON memory.memory_history USING brin (valid_to);
CREATE INDEX IF NOT EXISTS history_turns ON memory.memory_history (valid_from)
  WHERE value ->> 'type' = 'turn';
CREATE INDEX IF NOT EXISTS history_expired ON memory.memory_history (namespace, key) WHERE expired;

CREATE OR REPLACE TRIGGER history_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON memory.memory_history
  FOR EACH STATEMENT EXECUTE FUNCTION memory.keep_records();

ALTER TABLE memory.memory_history ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS readable ON memory.memory_history;
CREATE POLICY readable ON memory.memory_history FOR SELECT TO authenticated
  USING (user_id = (SELECT auth.uid())::text OR org_id IN (SELECT memory.my_organisations()));
DROP POLICY IF EXISTS own_agent ON memory.memory_history;
CREATE POLICY own_agent ON memory.memory_history AS RESTRICTIVE TO authenticated USING (
  coalesce(split_part(namespace, '.', 3) = (SELECT memory.agent_label()), true)
  OR NOT starts_with(split_part(namespace, '.', 3), 'agent:'));

REVOKE ALL ON memory.memory_history FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON memory.memory_history TO authenticated, service_role;
-- end of part

-- Relationships between memories ----------------------------------------------------------------

-- part: graph
CREATE TABLE IF NOT EXISTS memory.memory_relationships (
  id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  user_id    text COLLATE "C",
  org_id     text COLLATE "C",
  source_id  bigint NOT NULL REFERENCES memory.memories (id) ON DELETE CASCADE,
  target_id  bigint NOT NULL REFERENCES memory.memories (id) ON DELETE CASCADE,
  type       text COLLATE "C" NOT NULL,
  strength   float8 NOT NULL DEFAULT 1 CHECK (strength BETWEEN 0 AND 1),
  metadata   jsonb NOT NULL DEFAULT '{}',
  created_at timestamptz NOT NULL DEFAULT now(),
  -- with two owners, one could plant rows with the other
  CHECK (user_id IS NULL OR org_id IS NULL),
  -- by owner: a refusal tells nothing of others
  UNIQUE NULLS NOT DISTINCT (user_id, org_id, source_id, target_id, type)
);

-- A person's edges from a memory, and to it, the strongest first: the order in which a traversal
-- follows them.
CREATE INDEX IF NOT EXISTS relationships_out
  ON memory.memory_relationships (source_id, user_id, strength DESC, target_id, type);
CREATE INDEX IF NOT EXISTS relationships_in
  ON memory.memory_relationships (target_id, user_id, strength DESC, source_id, type);
CREATE INDEX IF NOT EXISTS relationships_org ON memory.memory_relationships (org_id);

CREATE OR REPLACE TRIGGER relationships_recorded AFTER INSERT OR UPDATE OR DELETE
  ON memory.memory_relationships
  FOR EACH ROW EXECUTE FUNCTION memory.record_knowledge_change('relationship');

ALTER TABLE memory.memory_relationships ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS own ON memory.memory_relationships;
CREATE POLICY own ON memory.memory_relationships TO authenticated
  USING (user_id = (SELECT auth.uid())::text OR org_id IN (SELECT memory.my_organisations()))
  WITH CHECK ((user_id = (SELECT auth.uid())::text OR org_id IN (SELECT memory.my_organisations()))
    AND EXISTS (SELECT FROM memory.memories AS m WHERE m.id = source_id)
    AND EXISTS (SELECT FROM memory.memories AS m WHERE m.id = target_id));

REVOKE ALL ON memory.memory_relationships FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON memory.memory_relationships TO authenticated, service_role;
-- end of part

-- Sessions --------------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS memory.sessions (
  user_id          text COLLATE "C" NOT NULL,
  id               text COLLATE "C" NOT NULL,
  agent            text,
  title            text,
  metadata         jsonb NOT NULL DEFAULT '{}',
  thread_id        text DEFAULT memory.provenance('thread_id'),
  created_at       timestamptz NOT NULL DEFAULT now(),
  last_activity_at timestamptz NOT NULL DEFAULT now(),
  ended_at         timestamptz,
  PRIMARY KEY (user_id, id)
);

CREATE INDEX IF NOT EXISTS sessions_activity ON memory.sessions (user_id, last_activity_at DESC);

ALTER TABLE memory.sessions ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS own ON memory.sessions;
CREATE POLICY own ON memory.sessions TO authenticated
  USING (user_id = (SELECT auth.uid())::text) WITH CHECK (user_id = (SELECT auth.uid())::text);

REVOKE ALL ON memory.sessions FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON memory.sessions TO authenticated, service_role;

-- Turns -----------------------------------------------------------------------------------------

-- What was said is an item of the store; a turn says where it belongs. `exchange` is the id of
-- the user's message, so that an answer made again takes the place of the old one.
CREATE TABLE IF NOT EXISTS memory.turns (
  id            bigint GENERATED ALWAYS AS IDENTITY,
  user_id       text COLLATE "C" NOT NULL,
  session_id    text COLLATE "C" NOT NULL,
  exchange      text COLLATE "C" NOT NULL,
  role          text NOT NULL CHECK (role IN ('user', 'assistant')),
  agent         text,
  namespace     text COLLATE "C" NOT NULL,
  key           text COLLATE "C" NOT NULL,
  thread_id     text DEFAULT memory.provenance('thread_id'),
  run_id        text DEFAULT memory.provenance('run_id'),
  checkpoint_id text DEFAULT memory.provenance('checkpoint_id'),
  created_at    timestamptz NOT NULL DEFAULT now(),
  extracted_at  timestamptz,  -- when facts were taken from it; NULL while that is to be done
  PRIMARY KEY (user_id, session_id, exchange, role),
  FOREIGN KEY (user_id, session_id) REFERENCES memory.sessions (user_id, id) ON DELETE CASCADE,
  FOREIGN KEY (namespace, key) REFERENCES memory.memories (namespace, key) ON DELETE CASCADE
);

CREATE INDEX IF NOT EXISTS turns_recent ON memory.turns (user_id, session_id, id DESC);
CREATE INDEX IF NOT EXISTS turns_memory ON memory.turns (namespace, key);
CREATE INDEX IF NOT EXISTS turns_age ON memory.turns (created_at);
CREATE INDEX IF NOT EXISTS turns_to_extract ON memory.turns (user_id, session_id, id)
  WHERE extracted_at IS NULL;

-- Queue the extraction of facts from what was said in a session, in the transaction that says
-- it. One at a time for each person: what is new is compared with what is known. Only the person
-- themselves and the service may, for some time within a day: a job whose time no worker can
-- read, such as one before the year 1, would stop them all.
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

-- Note that facts were taken from turns, if they are still as they were when they were read: an
-- answer may have been made again, somebody else have read them meanwhile, or the person have
-- been erased.
CREATE OR REPLACE FUNCTION memory.mark_read(
  subject text, session text, exchanges text[], roles text[], versions timestamptz[]) RETURNS void
  LANGUAGE plpgsql SET search_path = ''
AS $$
DECLARE
  n bigint;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('facts:' || subject, 0));  -- `erase_user` waits for what is stored with it
  UPDATE memory.turns AS t SET extracted_at = now()
  FROM unnest(exchanges, roles, versions) AS given (exchange, role, version)
  WHERE t.user_id = subject AND t.session_id = session AND t.exchange = given.exchange AND t.role = given.role
    AND t.extracted_at IS NULL AND EXISTS (
      SELECT FROM memory.memories AS m
      WHERE m.namespace = t.namespace AND m.key = t.key AND m.updated_at = given.version);
  GET DIAGNOSTICS n = ROW_COUNT;
  IF n <> cardinality(exchanges) THEN
    RAISE EXCEPTION USING ERRCODE = 'GM409', MESSAGE = 'the turns are not as they were read',
      DETAIL = json_build_array('', session);
  END IF;
END $$;

ALTER TABLE memory.turns ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS own ON memory.turns;
-- It looks the memory up by its address only: a plan that was made while the table was small would
-- read all memories of the person for each turn.
CREATE POLICY own ON memory.turns TO authenticated
  USING (user_id = (SELECT auth.uid())::text)
  WITH CHECK (user_id = (SELECT auth.uid())::text AND EXISTS (
    SELECT FROM memory.memories AS m
    WHERE m.namespace = ANY (ARRAY[turns.namespace]) AND m.key = ANY (ARRAY[turns.key])
      AND (m.user_id = turns.user_id) IS TRUE));

REVOKE ALL ON memory.turns FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON memory.turns TO authenticated, service_role;
REVOKE ALL ON FUNCTION
  memory.queue_facts(text, text, float8),
  memory.mark_read(text, text, text[], text[], timestamptz[])
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION
  memory.queue_facts(text, text, float8),
  memory.mark_read(text, text, text[], text[], timestamptz[]) TO authenticated, service_role;

-- Executions of agents --------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS memory.agent_executions (
  run_id      text NOT NULL,
  agent       text NOT NULL,
  user_id     text COLLATE "C" NOT NULL,
  session_id  text,
  thread_id   text DEFAULT memory.provenance('thread_id'),
  started_at  timestamptz NOT NULL DEFAULT now(),
  finished_at timestamptz,
  PRIMARY KEY (user_id, run_id, agent)
);

CREATE INDEX IF NOT EXISTS executions_user ON memory.agent_executions (user_id, started_at DESC);
CREATE INDEX IF NOT EXISTS executions_age ON memory.agent_executions USING brin (started_at);

ALTER TABLE memory.agent_executions ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS own ON memory.agent_executions;
CREATE POLICY own ON memory.agent_executions TO authenticated
  USING (user_id = (SELECT auth.uid())::text) WITH CHECK (user_id = (SELECT auth.uid())::text);

REVOKE ALL ON memory.agent_executions FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON memory.agent_executions TO authenticated, service_role;

-- Deleted runs ----------------------------------------------------------------------------------

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

REVOKE ALL ON FUNCTION memory.run_lock(text, text), memory.refuse_deleted_runs(text[], text[]),
  memory.delete_threads(text[], text[]) FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION memory.refuse_deleted_runs(text[], text[])
  TO authenticated, service_role;

-- Accepted payloads -----------------------------------------------------------------------------

-- One row for each accepted payload: which memories it became. `idempotency_key` makes a retried
-- write one write.
CREATE TABLE IF NOT EXISTS memory.memory_logs (
  id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  user_id         text COLLATE "C" NOT NULL,
  session_id      text NOT NULL,
  agent           text NOT NULL,
  type            text NOT NULL,
  memories        jsonb NOT NULL,        -- [[namespace, key], …]
  idempotency_key text,
  digest          text,  -- of what it says: another payload under its key is refused
  thread_id       text DEFAULT memory.provenance('thread_id'),
  run_id          text DEFAULT memory.provenance('run_id'),
  checkpoint_id   text DEFAULT memory.provenance('checkpoint_id'),
  said_at         timestamptz NOT NULL,  -- the payload's own timestamp
  created_at      timestamptz NOT NULL DEFAULT now(),
  UNIQUE (user_id, idempotency_key)
);

CREATE INDEX IF NOT EXISTS logs_user ON memory.memory_logs (user_id, created_at DESC);
CREATE INDEX IF NOT EXISTS logs_age ON memory.memory_logs USING brin (created_at);
CREATE INDEX IF NOT EXISTS logs_run ON memory.memory_logs (run_id) WHERE run_id IS NOT NULL;

ALTER TABLE memory.memory_logs ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS own ON memory.memory_logs;
CREATE POLICY own ON memory.memory_logs TO authenticated
  USING (user_id = (SELECT auth.uid())::text) WITH CHECK (user_id = (SELECT auth.uid())::text);

REVOKE ALL ON memory.memory_logs FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT, INSERT ON memory.memory_logs TO authenticated, service_role;

-- Receipts of recalls ---------------------------------------------------------------------------

-- Who read what: for each recall what was chosen, what nearly, and why.
CREATE TABLE IF NOT EXISTS memory.recall_receipts (
  id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at            timestamptz NOT NULL DEFAULT now(),
  actor         text NOT NULL,              -- a user's id, or the role that asked
  user_id       text COLLATE "C" NOT NULL,  -- whose memory
  query         text NOT NULL,
  chosen        jsonb NOT NULL,             -- [{namespace, key, score, parts}, …]
  nearly        jsonb NOT NULL,
  session_id    text DEFAULT memory.provenance('session_id'),
  thread_id     text DEFAULT memory.provenance('thread_id'),
  run_id        text DEFAULT memory.provenance('run_id'),
  checkpoint_id text DEFAULT memory.provenance('checkpoint_id')
);

CREATE INDEX IF NOT EXISTS receipts_user ON memory.recall_receipts (user_id, at DESC);
CREATE INDEX IF NOT EXISTS receipts_age ON memory.recall_receipts USING brin (at);
CREATE INDEX IF NOT EXISTS receipts_run ON memory.recall_receipts (run_id) WHERE run_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS receipts_actor ON memory.recall_receipts (actor)
  WHERE user_id IS DISTINCT FROM actor;

ALTER TABLE memory.recall_receipts ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS readable ON memory.recall_receipts;
CREATE POLICY readable ON memory.recall_receipts FOR SELECT TO authenticated
  USING (user_id = (SELECT auth.uid())::text);

REVOKE ALL ON memory.recall_receipts FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON memory.recall_receipts TO authenticated, service_role;
GRANT INSERT ON memory.recall_receipts TO service_role;

-- Goals -----------------------------------------------------------------------------------------

-- What a goal says, and who wrote it when, is a memory of that type; a row has what a memory has
-- no place for.

-- What a goal or a belief says, and who wrote it when, is a memory of that type; a row has what
-- a memory has no place for.
CREATE TABLE IF NOT EXISTS memory.goal_assessments (
  memory_id   bigint PRIMARY KEY REFERENCES memory.memories (id) ON DELETE CASCADE,
  user_id     text COLLATE "C" NOT NULL,
  status      text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'achieved', 'abandoned')),
  progress    float8 NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 1),
  assessment  jsonb NOT NULL DEFAULT '{}',  -- the latest; the audit log has those before it
  created_at  timestamptz NOT NULL DEFAULT now(),
  updated_at  timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX IF NOT EXISTS goals_user ON memory.goal_assessments (user_id);

CREATE OR REPLACE TRIGGER goals_recorded AFTER INSERT OR UPDATE OR DELETE ON memory.goal_assessments
  FOR EACH ROW EXECUTE FUNCTION memory.record_knowledge_change('goal');

ALTER TABLE memory.goal_assessments ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS own ON memory.goal_assessments;
CREATE POLICY own ON memory.goal_assessments TO authenticated
  USING (user_id = (SELECT auth.uid())::text)
  WITH CHECK (user_id = (SELECT auth.uid())::text AND EXISTS (
    SELECT FROM memory.memories AS m WHERE m.id = ANY (ARRAY[memory_id])
    AND (m.user_id = goal_assessments.user_id) IS TRUE));

REVOKE ALL ON memory.goal_assessments FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON memory.goal_assessments TO authenticated, service_role;

-- Beliefs ---------------------------------------------------------------------------------------

-- As with goals, what a belief says is a memory.

-- Which belief took the place of which is a relationship; that a belief is superseded, its
-- memory says, for searches.
CREATE TABLE IF NOT EXISTS memory.belief_graphs (
  memory_id   bigint PRIMARY KEY REFERENCES memory.memories (id) ON DELETE CASCADE,
  user_id     text COLLATE "C" NOT NULL,
  confidence  float8 NOT NULL DEFAULT 1 CHECK (confidence BETWEEN 0 AND 1),
  created_at  timestamptz NOT NULL DEFAULT now(),
  updated_at  timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX IF NOT EXISTS beliefs_user ON memory.belief_graphs (user_id);

CREATE OR REPLACE TRIGGER beliefs_recorded AFTER INSERT OR UPDATE OR DELETE ON memory.belief_graphs
  FOR EACH ROW EXECUTE FUNCTION memory.record_knowledge_change('belief');

ALTER TABLE memory.belief_graphs ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS own ON memory.belief_graphs;
CREATE POLICY own ON memory.belief_graphs TO authenticated
  USING (user_id = (SELECT auth.uid())::text)
  WITH CHECK (user_id = (SELECT auth.uid())::text AND EXISTS (
    SELECT FROM memory.memories AS m WHERE m.id = ANY (ARRAY[memory_id])
    AND (m.user_id = belief_graphs.user_id) IS TRUE));

REVOKE ALL ON memory.belief_graphs FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON memory.belief_graphs TO authenticated, service_role;

-- Metrics ---------------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS memory.cognitive_metrics (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  user_id     text COLLATE "C" NOT NULL,
  session_id  text,
  agent       text,
  name        text NOT NULL,
  value       float8 NOT NULL,
  metadata    jsonb NOT NULL DEFAULT '{}',
  event_id    uuid NOT NULL DEFAULT gen_random_uuid(),  -- the same call records it once
  run_id      text DEFAULT memory.provenance('run_id'),
  created_at  timestamptz NOT NULL DEFAULT now(),
  UNIQUE (user_id, event_id)
);

CREATE INDEX IF NOT EXISTS metrics_user
  ON memory.cognitive_metrics (user_id, name, created_at DESC);

CREATE OR REPLACE TRIGGER metrics_recorded AFTER INSERT OR UPDATE OR DELETE
  ON memory.cognitive_metrics
  FOR EACH ROW EXECUTE FUNCTION memory.record_knowledge_change('metric');

ALTER TABLE memory.cognitive_metrics ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS own ON memory.cognitive_metrics;
CREATE POLICY own ON memory.cognitive_metrics TO authenticated
  USING (user_id = (SELECT auth.uid())::text) WITH CHECK (user_id = (SELECT auth.uid())::text);

REVOKE ALL ON memory.cognitive_metrics FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON memory.cognitive_metrics TO authenticated, service_role;

-- The brain -------------------------------------------------------------------------------------

-- A slug names one memory of a user or of a company. The content lives in the memory alone, an
-- item under the slug in the owner's namespace `brain`. A company is an organisation.

-- The brain: a slug names one memory of a user or of a company. The content lives in the memory
-- alone, an item under the
CREATE TABLE IF NOT EXISTS memory.user_brain (
  user_id    text COLLATE "C" NOT NULL,
  slug       text COLLATE "C" NOT NULL,
  memory_id  bigint NOT NULL UNIQUE REFERENCES memory.memories (id) ON DELETE CASCADE,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (user_id, slug)
);

ALTER TABLE memory.user_brain ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS own ON memory.user_brain;
CREATE POLICY own ON memory.user_brain TO authenticated
  USING (user_id = (SELECT auth.uid())::text)
  WITH CHECK (user_id = (SELECT auth.uid())::text AND EXISTS (
    SELECT FROM memory.memories AS m WHERE m.id = memory_id AND m.key = user_brain.slug
    AND m.namespace = 'users.' || replace(replace(user_brain.user_id, '%', '%25'), '.', '%2E')
      || '.brain.'));

REVOKE ALL ON memory.user_brain FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON memory.user_brain TO authenticated, service_role;

CREATE TABLE IF NOT EXISTS memory.company_brain (
  org_id     text COLLATE "C" NOT NULL,
  slug       text COLLATE "C" NOT NULL,
  memory_id  bigint NOT NULL UNIQUE REFERENCES memory.memories (id) ON DELETE CASCADE,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, slug)
);

ALTER TABLE memory.company_brain ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS member ON memory.company_brain;
CREATE POLICY member ON memory.company_brain TO authenticated
  USING (org_id IN (SELECT memory.my_organisations()))
  WITH CHECK (org_id IN (SELECT memory.my_organisations()) AND EXISTS (
    SELECT FROM memory.memories AS m WHERE m.id = memory_id AND m.key = company_brain.slug
    AND m.namespace = 'orgs.' || replace(replace(company_brain.org_id, '%', '%25'), '.', '%2E')
      || '.brain.'));

-- Without its slug a memory is gone from the brain. Restrictive: beside the policy above.
DROP POLICY IF EXISTS removable ON memory.company_brain;
CREATE POLICY removable ON memory.company_brain AS RESTRICTIVE FOR DELETE TO authenticated
  USING (org_id IN (SELECT memory.my_organisations(true)));

REVOKE ALL ON memory.company_brain FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON memory.company_brain TO authenticated, service_role;

-- Loads of profiles into the brain --------------------------------------------------------------

-- Loads of profiles into the brain. The job that does one says whether it runs; here is how far
-- it is.
CREATE TABLE IF NOT EXISTS memory.brain_loads (
  id          uuid PRIMARY KEY,
  job_id      bigint NOT NULL,
  kind        text NOT NULL CHECK (kind IN ('user', 'company', 'users', 'companies')),
  user_id     text COLLATE "C",
  org_id      text COLLATE "C",
  -- the last owner of the last batch that was counted
  cursor      text COLLATE "C" NOT NULL DEFAULT '',
  total       bigint,
  done        bigint NOT NULL DEFAULT 0,
  saved       bigint NOT NULL DEFAULT 0,
  unchanged   bigint NOT NULL DEFAULT 0,
  failed      bigint NOT NULL DEFAULT 0,
  cancelled   boolean NOT NULL DEFAULT false,
  queued_at   timestamptz NOT NULL DEFAULT now(),
  started_at  timestamptz,
  finished_at timestamptz,
  CHECK ((kind = 'user') = (user_id IS NOT NULL) AND (kind = 'company') = (org_id IS NOT NULL))
);

CREATE INDEX IF NOT EXISTS loads_user ON memory.brain_loads (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS loads_org ON memory.brain_loads (org_id) WHERE org_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS loads_age ON memory.brain_loads (queued_at);

-- Queue a load of profiles into the brain, of one owner or (NULL) of all, and return its id. One
-- at a time of each kind and owner. A person may load themselves, an administrator their
-- company, the service everybody. Old loads go.
CREATE OR REPLACE FUNCTION memory.queue_load(kind text, owner text) RETURNS uuid
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
  load_id uuid := gen_random_uuid();
  subject text := CASE kind WHEN 'user' THEN owner END;
BEGIN
  IF current_setting('role') <> 'service_role' AND NOT coalesce(CASE kind
    WHEN 'user' THEN owner = (SELECT auth.uid())::text
    WHEN 'company' THEN owner IN (SELECT memory.my_organisations(true)) END, false) THEN
    RAISE insufficient_privilege USING MESSAGE = 'these profiles are not for this one to load';
  END IF;
  DELETE FROM memory.brain_loads AS l WHERE l.queued_at < now() - interval '30 days';
  INSERT INTO memory.brain_loads (id, kind, user_id, org_id, job_id)
  SELECT load_id, kind, subject, CASE kind WHEN 'company' THEN owner END,
    (procrastinate.procrastinate_defer_jobs_v1(ARRAY[ROW('default', 'load_brain', 0, concat_ws(':', 'load', kind, owner), NULL,
      jsonb_strip_nulls(jsonb_build_object('load_id', load_id, 'user_id', subject)), NULL
    )::procrastinate.procrastinate_job_to_defer_v1]))[1];
  RETURN load_id;
END $$;

-- How a load stands, to whom it may be shown; only its job tells whether it waits, runs or was
-- given up.
CREATE OR REPLACE FUNCTION memory.load_status(load_id uuid) RETURNS text
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = ''
AS $$
BEGIN
  RETURN (SELECT CASE WHEN l.finished_at IS NOT NULL AND NOT l.cancelled THEN 'done'
    WHEN l.finished_at IS NULL AND j.status = 'doing' THEN 'running'
    WHEN l.cancelled THEN 'cancelled' WHEN j.status = 'todo' THEN 'waiting' ELSE 'failed' END
  FROM memory.brain_loads AS l LEFT JOIN procrastinate.procrastinate_jobs AS j ON j.id = l.job_id
  WHERE l.id = load_status.load_id AND (current_setting('role') = 'service_role' OR l.user_id = (SELECT auth.uid())::text
    OR l.org_id IN (SELECT memory.my_organisations(true))));
END $$;

ALTER TABLE memory.brain_loads ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS readable ON memory.brain_loads;
CREATE POLICY readable ON memory.brain_loads FOR SELECT TO authenticated
  USING (user_id = (SELECT auth.uid())::text OR org_id IN (SELECT memory.my_organisations(true)));

REVOKE ALL ON memory.brain_loads FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON memory.brain_loads TO authenticated, service_role;
GRANT UPDATE ON memory.brain_loads TO service_role;
REVOKE ALL ON FUNCTION
  memory.queue_load(text, text), memory.load_status(uuid)
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION
  memory.queue_load(text, text), memory.load_status(uuid) TO authenticated, service_role;

-- The first entries of a load that could not be made memories, and why; never what they hold.
CREATE TABLE IF NOT EXISTS memory.brain_load_errors (
  id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  load_id uuid NOT NULL REFERENCES memory.brain_loads (id) ON DELETE CASCADE,
  user_id text COLLATE "C",
  org_id  text COLLATE "C",
  slug    text,
  error   text NOT NULL
);

CREATE INDEX IF NOT EXISTS load_errors_load ON memory.brain_load_errors (load_id);
CREATE INDEX IF NOT EXISTS load_errors_user ON memory.brain_load_errors (user_id)
  WHERE user_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS load_errors_org ON memory.brain_load_errors (org_id)
  WHERE org_id IS NOT NULL;

ALTER TABLE memory.brain_load_errors ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS readable ON memory.brain_load_errors;
CREATE POLICY readable ON memory.brain_load_errors FOR SELECT TO authenticated
  USING (user_id = (SELECT auth.uid())::text OR org_id IN (SELECT memory.my_organisations(true)));

REVOKE ALL ON memory.brain_load_errors FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON memory.brain_load_errors TO authenticated, service_role;
GRANT INSERT ON memory.brain_load_errors TO service_role;

-- Files -----------------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS memory.files (
  id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  user_id    text COLLATE "C" NOT NULL,
  session_id text,
  bucket     text NOT NULL,
  path       text NOT NULL,
  media_type text NOT NULL,
  bytes      bigint NOT NULL CHECK (bytes >= 0),
  sha256     text NOT NULL,
  metadata   jsonb NOT NULL DEFAULT '{}',
  run_id     text DEFAULT memory.provenance('run_id'),
  created_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (user_id, bucket, path),  -- by owner: a refusal tells nothing of others
  -- nobody names another's content
  CHECK (starts_with(path, replace(replace(user_id, '%', '%25'), '.', '%2E') || '/'))
);

ALTER TABLE memory.files ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS own ON memory.files;
CREATE POLICY own ON memory.files TO authenticated
  USING (user_id = (SELECT auth.uid())::text) WITH CHECK (user_id = (SELECT auth.uid())::text);

REVOKE ALL ON memory.files FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON memory.files TO authenticated, service_role;

-- Background jobs: what procrastinate does not keep ---------------------------------------------

-- Which of procrastinate's migrations its schema has, so that an upgrade of the package applies
-- the others.
CREATE TABLE IF NOT EXISTS memory.job_migrations (
  name       text PRIMARY KEY,
  applied_at timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE memory.job_migrations ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON memory.job_migrations FROM PUBLIC, anon, authenticated, service_role;

-- Why jobs failed; the jobs themselves are procrastinate's.
CREATE TABLE IF NOT EXISTS memory.job_failures (
  job_id  bigint PRIMARY KEY,
  user_id text COLLATE "C",  -- whom the job is about
  error   text NOT NULL,
  at      timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX IF NOT EXISTS job_failures_user ON memory.job_failures (user_id);

ALTER TABLE memory.job_failures ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON memory.job_failures FROM PUBLIC, anon, authenticated, service_role;

-- Deliveries to services outside ----------------------------------------------------------------

-- An outbox, written with the memory itself: for each adapter what happened, by reference and
-- without content; and the record of what left, with keyed digests of what was taken out before.
-- One without a user is what is left to do when a person was erased: to have everything removed
-- that left under their pseudonym.
CREATE TABLE IF NOT EXISTS memory.deliveries (
  -- the service gets it as the key of idempotency
  id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  adapter      text NOT NULL,
  mode         text NOT NULL CHECK (mode IN ('on', 'shadow')),
  user_id      text COLLATE "C",
  intent       jsonb NOT NULL,
  status       text NOT NULL DEFAULT 'pending'
    CHECK (status IN ('pending', 'delivered', 'skipped', 'failed')),
  attempts     int NOT NULL DEFAULT 0,
  pseudonym    text,                         -- under which it left: noted before the first attempt
  receipt      text,                         -- under which the service works on it
  error        text,
  redactions   jsonb NOT NULL DEFAULT '[]',  -- [{kind, digest}, …]
  created_at   timestamptz NOT NULL DEFAULT now(),
  delivered_at timestamptz
);

CREATE INDEX IF NOT EXISTS deliveries_user ON memory.deliveries (user_id, created_at DESC)
  WHERE user_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS deliveries_open ON memory.deliveries (status, adapter, created_at)
  WHERE status <> 'delivered';
CREATE INDEX IF NOT EXISTS deliveries_recent ON memory.deliveries (created_at);
CREATE INDEX IF NOT EXISTS deliveries_erasures ON memory.deliveries (adapter, pseudonym)
  WHERE intent ->> 'kind' = 'user_erased' AND status IN ('pending', 'failed');

-- Queue the job that carries out a delivery. What concerns one person goes to one service in its
-- order, hence the lock; it names the person by a digest, since jobs are kept for a day.
CREATE OR REPLACE FUNCTION memory.queue_delivery(delivery uuid, adapter text, whose text)
  RETURNS void
  LANGUAGE plpgsql SET search_path = ''
AS $$
BEGIN
  PERFORM procrastinate.procrastinate_defer_jobs_v1(ARRAY[ROW('default', 'deliver', 0,
    'deliver:' || adapter || ':' || encode(sha256(convert_to(whose, 'UTF8')), 'hex'), NULL,
    jsonb_build_object('delivery_id', delivery), NULL)::procrastinate.procrastinate_job_to_defer_v1]);
END $$;

-- A delivery for each adapter that takes this kind of intent. The transaction says which ones
-- are switched on.
CREATE OR REPLACE FUNCTION memory.fan_out(subject text, intent jsonb) RETURNS void
  LANGUAGE plpgsql SET search_path = ''
AS $$
DECLARE
  outlet   record;
  delivery uuid;
BEGIN
  FOR outlet IN
    SELECT a.name, a.told ->> 'mode' AS mode
    FROM jsonb_each(nullif(current_setting('memory.provenance', true), '')::jsonb -> 'adapters') AS a (name, told)
    WHERE a.told -> 'takes' ? (intent ->> 'kind')
  LOOP
    INSERT INTO memory.deliveries (adapter, mode, user_id, intent) VALUES (outlet.name, outlet.mode, subject, intent)
    RETURNING id INTO delivery;
    PERFORM memory.queue_delivery(delivery, outlet.name, subject);
  END LOOP;
END $$;

-- An intent that no trigger emits. A person may emit what is about themselves, the service what
-- is about anybody; that somebody was erased is for the erasure alone to tell.
CREATE OR REPLACE FUNCTION memory.emit(subject text, intent jsonb) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
BEGIN
  IF current_setting('role') <> 'service_role' AND subject IS DISTINCT FROM (SELECT auth.uid())::text THEN
    RAISE insufficient_privilege USING MESSAGE = 'an intent about another user cannot be emitted';
  ELSIF intent ->> 'kind' = 'user_erased' THEN
    RAISE insufficient_privilege USING MESSAGE = 'only an erasure tells that somebody was erased';
  ELSIF intent ->> 'kind' = 'session_ended' THEN
    UPDATE memory.sessions AS s SET ended_at = now() WHERE s.user_id = subject AND s.id = intent ->> 'session_id';
  END IF;
  PERFORM memory.fan_out(subject, intent);
END $$;

-- Tell an adapter of memories as if they had just been written, so that one that is switched on
-- late has those from before as well: at most `most` of them, after one with some number; the
-- number of the last one, NULL when there are no more.
CREATE OR REPLACE FUNCTION memory.tell_memories(
  of_adapter text, in_mode text, after bigint, most int)
  RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
  told     record;
  delivery uuid;
  last     bigint;
BEGIN
  FOR told IN
    SELECT m.id, m.user_id, m.namespace, m.key FROM memory.memories AS m
    WHERE m.id > after AND m.user_id IS NOT NULL AND m.value ? 'type' AND m.value ->> 'type' <> 'turn'
    ORDER BY m.id LIMIT most
  LOOP
    INSERT INTO memory.deliveries (adapter, mode, user_id, intent) VALUES (of_adapter, in_mode, told.user_id,
      jsonb_build_object('kind', 'memory_written', 'namespace', string_to_array(left(told.namespace, -1), '.'), 'key', told.key))
    RETURNING id INTO delivery;
    PERFORM memory.queue_delivery(delivery, of_adapter, told.user_id);
    last := told.id;
  END LOOP;
  RETURN last;
END $$;

-- Have deliveries that failed, or were skipped, tried again: those with some ids, or all of an
-- adapter; which ones.
CREATE OR REPLACE FUNCTION memory.replay_deliveries(ids uuid[], of_adapter text) RETURNS SETOF uuid
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
  replayed record;
BEGIN
  FOR replayed IN
    WITH again AS (
      UPDATE memory.deliveries AS d SET status = 'pending', attempts = 0
      WHERE d.status IN ('failed', 'skipped') AND (d.id = ANY (ids) OR d.adapter = of_adapter)
      RETURNING d.id, d.adapter, coalesce(d.user_id, d.pseudonym) AS whose, d.created_at
    )
    SELECT * FROM again ORDER BY created_at
  LOOP
    PERFORM memory.queue_delivery(replayed.id, replayed.adapter, replayed.whose);
    RETURN NEXT replayed.id;
  END LOOP;
END $$;

-- Deliveries that nobody works on, since their job was removed or its worker died: queue them
-- again, or give them up where that happened `most` times. How many were queued.
CREATE OR REPLACE FUNCTION memory.rescue_deliveries(most int, older_than float8) RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
  stuck   record;
  rescued bigint := 0;
BEGIN
  FOR stuck IN
    SELECT d.id, d.adapter, d.attempts, coalesce(d.user_id, d.pseudonym) AS whose FROM memory.deliveries AS d
    WHERE d.status = 'pending' AND d.created_at < now() - older_than * interval '1 second' AND NOT EXISTS (
      SELECT FROM procrastinate.procrastinate_jobs AS j
      WHERE j.task_name = 'deliver' AND j.status IN ('todo', 'doing') AND j.args ->> 'delivery_id' = d.id::text)
    ORDER BY d.created_at FOR UPDATE OF d SKIP LOCKED
  LOOP
    IF stuck.attempts >= most THEN
      UPDATE memory.deliveries SET status = 'failed', error = 'it was cut off, again and again: the log may say by what' WHERE id = stuck.id;
    ELSE
      PERFORM memory.queue_delivery(stuck.id, stuck.adapter, stuck.whose);
      rescued := rescued + 1;
    END IF;
  END LOOP;
  RETURN rescued;
END $$;

ALTER TABLE memory.deliveries ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS readable ON memory.deliveries;
CREATE POLICY readable ON memory.deliveries FOR SELECT TO authenticated
  USING (user_id = (SELECT auth.uid())::text);

REVOKE ALL ON memory.deliveries FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON memory.deliveries TO authenticated, service_role;
GRANT UPDATE ON memory.deliveries TO service_role;
REVOKE ALL ON FUNCTION
  memory.queue_delivery(uuid, text, text), memory.fan_out(text, jsonb), memory.emit(text, jsonb),
  memory.tell_memories(text, text, bigint, int), memory.replay_deliveries(uuid[], text),
  memory.rescue_deliveries(int, float8) FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION memory.emit(text, jsonb) TO authenticated, service_role;
GRANT EXECUTE ON FUNCTION
  memory.tell_memories(text, text, bigint, int), memory.replay_deliveries(uuid[], text),
  memory.rescue_deliveries(int, float8) TO service_role;

-- Copies of memories at services outside --------------------------------------------------------

-- What a memory is called by a service that has a copy of it.
CREATE TABLE IF NOT EXISTS memory.external_copies (
  adapter     text NOT NULL,
  namespace   text COLLATE "C" NOT NULL,
  key         text COLLATE "C" NOT NULL,
  user_id     text COLLATE "C" NOT NULL,
  external_id text NOT NULL,
  updated_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (adapter, namespace, key)
);

CREATE INDEX IF NOT EXISTS copies_user ON memory.external_copies (user_id);
CREATE INDEX IF NOT EXISTS copies_external ON memory.external_copies (adapter, external_id);

ALTER TABLE memory.external_copies ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS readable ON memory.external_copies;
CREATE POLICY readable ON memory.external_copies FOR SELECT TO authenticated
  USING (user_id = (SELECT auth.uid())::text);

REVOKE ALL ON memory.external_copies FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON memory.external_copies TO authenticated, service_role;
GRANT INSERT, UPDATE, DELETE ON memory.external_copies TO service_role;

-- Comparisons in the shadow ---------------------------------------------------------------------

-- A recall as it was, beside what another ranking or service would have found: keys only, and
-- nobody was shown it.
CREATE TABLE IF NOT EXISTS memory.shadow_comparisons (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at           timestamptz NOT NULL DEFAULT now(),
  candidate    text NOT NULL,
  user_id      text COLLATE "C" NOT NULL,
  at_most      int NOT NULL,    -- how many memories were asked for
  ours         jsonb NOT NULL,  -- [[namespace, key], …]
  theirs       jsonb NOT NULL,  -- the same; null for what is not known here
  overlap      real,            -- which part of ours is among theirs
  correlation  real,            -- Spearman's, of the ranks of what both have
  our_seconds  real NOT NULL,
  their_seconds real,
  error        text             -- why there is nothing to compare with
);

CREATE INDEX IF NOT EXISTS comparisons_user ON memory.shadow_comparisons (user_id);
CREATE INDEX IF NOT EXISTS comparisons_recent ON memory.shadow_comparisons (at);

ALTER TABLE memory.shadow_comparisons ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS readable ON memory.shadow_comparisons;
CREATE POLICY readable ON memory.shadow_comparisons FOR SELECT TO authenticated
  USING (user_id = (SELECT auth.uid())::text);

REVOKE ALL ON memory.shadow_comparisons FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON memory.shadow_comparisons TO authenticated, service_role;
GRANT INSERT ON memory.shadow_comparisons TO service_role;

-- Migrations from elsewhere ---------------------------------------------------------------------

-- Migrations from elsewhere: how far each is. Its cursor says where the source goes on, and
-- names nobody.
CREATE TABLE IF NOT EXISTS memory.migrations (
  id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  source      text NOT NULL,              -- which kind of source
  origin      text NOT NULL,              -- which one of its kind
  options     jsonb NOT NULL DEFAULT '{}',
  status      text NOT NULL DEFAULT 'running'
    CHECK (status IN ('running', 'paused', 'finished', 'rolled_back')),
  cursor      text,  -- of the last batch that was stored; NULL before the first
  total       bigint,                     -- how many records the source says that it has
  brought     bigint NOT NULL DEFAULT 0,
  present     bigint NOT NULL DEFAULT 0,  -- left alone, since their address was taken
  expired     bigint NOT NULL DEFAULT 0,  -- left out, since they had expired
  rejected    bigint NOT NULL DEFAULT 0,  -- left out, since they cannot be memories
  started_at  timestamptz NOT NULL DEFAULT now(),
  updated_at  timestamptz NOT NULL DEFAULT now(),
  finished_at timestamptz
);

CREATE INDEX IF NOT EXISTS migrations_origin ON memory.migrations (source, origin);

ALTER TABLE memory.migrations ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON memory.migrations FROM PUBLIC, anon, authenticated, service_role;

-- What a migration brought. What is still at that version nobody has changed since, and a
-- rollback may remove it.
CREATE TABLE IF NOT EXISTS memory.migrated_memories (
  migration_id uuid NOT NULL REFERENCES memory.migrations (id) ON DELETE CASCADE,
  memory_id    bigint NOT NULL,
  namespace    text COLLATE "C" NOT NULL,
  key          text COLLATE "C" NOT NULL,
  user_id      text COLLATE "C",
  org_id       text COLLATE "C",
  source_id    text NOT NULL,         -- what the source calls it
  version      timestamptz NOT NULL,  -- its updated_at when it was brought
  PRIMARY KEY (migration_id, namespace, key)
);

CREATE INDEX IF NOT EXISTS migrated_user ON memory.migrated_memories (user_id)
  WHERE user_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS migrated_org ON memory.migrated_memories (org_id)
  WHERE org_id IS NOT NULL;

ALTER TABLE memory.migrated_memories ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON memory.migrated_memories FROM PUBLIC, anon, authenticated, service_role;

-- Audit -----------------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS memory.audit_logs (
  id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at            timestamptz NOT NULL DEFAULT now(),
  actor         text NOT NULL,     -- a user's id, or the role that acted
  action        text NOT NULL,  -- memory.insert, memory.update, memory.delete, or an event's type
  user_id       text COLLATE "C",  -- whom it is about
  org_id        text COLLATE "C",
  namespace     text COLLATE "C",
  key           text COLLATE "C",
  data          jsonb,
  event_id      uuid,  -- of an event that was logged by call: the same call logs it once
  thread_id     text DEFAULT memory.provenance('thread_id'),
  run_id        text DEFAULT memory.provenance('run_id'),
  checkpoint_id text DEFAULT memory.provenance('checkpoint_id'),
  task_id       text DEFAULT memory.provenance('task_id')
);

CREATE UNIQUE INDEX IF NOT EXISTS audit_event ON memory.audit_logs (event_id)
  WHERE event_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS audit_age ON memory.audit_logs USING brin (at);
CREATE INDEX IF NOT EXISTS audit_user ON memory.audit_logs (user_id, at DESC)
  WHERE user_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS audit_org ON memory.audit_logs (org_id, at DESC)
  WHERE org_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS audit_run ON memory.audit_logs (run_id) WHERE run_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS audit_actor ON memory.audit_logs (actor)
  WHERE user_id IS DISTINCT FROM actor;
CREATE INDEX IF NOT EXISTS audit_about ON memory.audit_logs ((data ->> 'about'))
  WHERE data ->> 'about' IS NOT NULL;

-- An event that no trigger records. A person may log about themselves, the service about
-- anybody; what triggers record cannot be imitated. The same event_id is logged once.
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

-- Whether a person was erased within the last seconds. What is recorded late about somebody must
-- not appear after their certificate: until the transaction ends, no erasure of them begins.
CREATE OR REPLACE FUNCTION memory.was_erased(person text, seconds float8) RETURNS boolean
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$ BEGIN
  PERFORM pg_advisory_xact_lock_shared(hashtextextended('facts:' || person, 0));
  RETURN EXISTS (
    SELECT FROM memory.erasures AS e WHERE e.subject = sha256(convert_to(person, 'UTF8'))
      AND e.erased_at >= now() - make_interval(secs => seconds));
END $$;

-- Leave out a record about a recall by or for a person who was erased within the last half minute:
-- processes write these after the answer.
CREATE OR REPLACE FUNCTION memory.drop_late_record() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$ BEGIN
  IF memory.was_erased(NEW.user_id, 30) OR memory.was_erased(coalesce(to_jsonb(NEW) ->> 'actor', ''), 30) THEN
    RETURN NULL;
  END IF;
  RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER receipts_of_the_erased BEFORE INSERT ON memory.recall_receipts
  FOR EACH ROW EXECUTE FUNCTION memory.drop_late_record();
CREATE OR REPLACE TRIGGER comparisons_of_the_erased BEFORE INSERT ON memory.shadow_comparisons
  FOR EACH ROW EXECUTE FUNCTION memory.drop_late_record();
REVOKE ALL ON FUNCTION memory.drop_late_record() FROM PUBLIC, anon, authenticated, service_role;

-- Who read which scope, told by the service behind the reads, since no trigger sees them. A read is
-- told some seconds later.
CREATE OR REPLACE FUNCTION memory.log_reads(reads jsonb) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE gone text[];
BEGIN
  SELECT array_agg(p.person) INTO gone FROM (
    SELECT people.person, max(people.seconds) AS seconds FROM jsonb_to_recordset(reads) AS r (actor text, namespace text, seconds float8)
    CROSS JOIN LATERAL (VALUES (r.actor, r.seconds), (
      CASE WHEN starts_with(r.namespace, 'users.') THEN
        replace(replace(split_part(r.namespace, '.', 2), '%2E', '.'), '%25', '%') END, r.seconds)) AS people (person, seconds)
    WHERE people.person <> '' GROUP BY 1 ORDER BY 1) AS p
  WHERE memory.was_erased(p.person, coalesce(p.seconds, 0));
  INSERT INTO memory.audit_logs
    (actor, action, user_id, org_id, namespace, data, thread_id, run_id, checkpoint_id, task_id)
  SELECT r.actor, 'memory.read', CASE WHEN starts_with(r.namespace, 'users.') THEN o.owner END,
    CASE WHEN starts_with(r.namespace, 'orgs.') THEN o.owner END, r.namespace, r.data, r.thread_id, r.run_id,
    r.checkpoint_id, r.task_id
  FROM jsonb_to_recordset(reads) AS r (actor text, namespace text, data jsonb, thread_id text, run_id text,
    checkpoint_id text, task_id text)
  CROSS JOIN LATERAL (
    SELECT nullif(replace(replace(split_part(r.namespace, '.', 2), '%2E', '.'), '%25', '%'), '') AS owner) AS o
  WHERE (r.actor = ANY (gone)) IS NOT TRUE
    AND (starts_with(r.namespace, 'users.') AND o.owner = ANY (gone)) IS NOT TRUE;
END $$;

CREATE OR REPLACE TRIGGER audit_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON memory.audit_logs
  FOR EACH STATEMENT EXECUTE FUNCTION memory.keep_records();

ALTER TABLE memory.audit_logs ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS readable ON memory.audit_logs;
CREATE POLICY readable ON memory.audit_logs FOR SELECT TO authenticated
  USING (user_id = (SELECT auth.uid())::text OR org_id IN (SELECT memory.my_organisations(true)));

REVOKE ALL ON memory.audit_logs FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON memory.audit_logs TO authenticated, service_role;
REVOKE ALL ON FUNCTION
  memory.log_event(text, text, jsonb, uuid), memory.log_reads(jsonb), memory.was_erased(text, float8)
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION memory.log_event(text, text, jsonb, uuid) TO authenticated, service_role;
GRANT EXECUTE ON FUNCTION memory.log_reads(jsonb), memory.was_erased(text, float8) TO service_role;

-- Erasures --------------------------------------------------------------------------------------

-- That a person was erased, or one memory, or old records: how many rows of which tables, and whom
-- or what it was, as a digest that only the id or the address leads to.
CREATE TABLE IF NOT EXISTS memory.erasures (
  id        uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  subject   bytea NOT NULL,  -- SHA-256 of the user's id
  erased    jsonb NOT NULL,  -- {table: rows}
  digest    bytea NOT NULL,  -- of all of this, and of the records below
  erased_at timestamptz NOT NULL DEFAULT now()
);
-- What was erased; NULL for a person.
ALTER TABLE memory.erasures
  ADD COLUMN IF NOT EXISTS kind text CHECK (kind IN ('memory', 'retention', 'migration'));

CREATE INDEX IF NOT EXISTS erasures_subject ON memory.erasures (subject);

CREATE OR REPLACE TRIGGER erasures_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON memory.erasures
  FOR EACH STATEMENT EXECUTE FUNCTION memory.keep_records();

ALTER TABLE memory.erasures ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON memory.erasures FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON memory.erasures TO service_role;

-- What is left of records that were erased: their digests, so that the seals over them still hold.
CREATE TABLE IF NOT EXISTS memory.erased_records (
  source     text NOT NULL,
  id         bigint NOT NULL,
  digest     bytea NOT NULL,
  erasure_id uuid NOT NULL REFERENCES memory.erasures (id) DEFERRABLE INITIALLY DEFERRED,
  PRIMARY KEY (source, id)
);

CREATE INDEX IF NOT EXISTS erased_erasure ON memory.erased_records (erasure_id);

-- What an erasure is known by: its certificate, and what is left of the records that it removed.
CREATE OR REPLACE FUNCTION memory.erasure_digest(e memory.erasures) RETURNS bytea
  LANGUAGE sql STABLE SET search_path = ''
AS $$
  SELECT sha256(e.subject || convert_to(e.id::text || e.erased::text, 'UTF8') || coalesce((
    SELECT string_agg(r.digest, '' ORDER BY r.source, r.id) FROM memory.erased_records AS r WHERE r.erasure_id = e.id), ''))
$$;

-- What the certificate of a memory that was erased for good is known by.
CREATE OR REPLACE FUNCTION memory.erased_address(in_namespace text, of_key text) RETURNS bytea
  LANGUAGE sql IMMUTABLE SET search_path = ''
AS $$ SELECT sha256(convert_to('memory ' || in_namespace || ' ' || of_key, 'UTF8')) $$;

CREATE OR REPLACE TRIGGER erased_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON memory.erased_records
  FOR EACH STATEMENT EXECUTE FUNCTION memory.keep_records();

ALTER TABLE memory.erased_records ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON memory.erased_records FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON memory.erased_records TO service_role;
REVOKE ALL ON FUNCTION
  memory.erasure_digest(memory.erasures), memory.erased_address(text, text)
  FROM PUBLIC, anon, authenticated, service_role;

-- Seals: what was recorded stays as it was, or is found out -------------------------------------

-- What was recorded up to some moment, in a chain: each seal is a digest of the one before, of
-- which records it holds, and of their content. `settled` is the last record below which none
-- can come any more; `reached` becomes that once no transaction is left that ran at the time
-- (they are older than `horizon`).
CREATE TABLE IF NOT EXISTS memory.audit_seals (
  id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  source    text NOT NULL CHECK (source IN ('audit_logs', 'memory_history')),
  ids       int8multirange NOT NULL,
  digest    bytea NOT NULL,
  settled   bigint NOT NULL,
  reached   bigint NOT NULL,
  horizon   xid8 NOT NULL,
  sealed_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX IF NOT EXISTS seals_reach ON memory.audit_seals (source, upper(ids));

-- The digest of one record. It names the columns, so that one that is added later does not break
-- the seals before it.
CREATE OR REPLACE FUNCTION memory.record_digest(a memory.audit_logs) RETURNS bytea
  LANGUAGE sql STABLE SET search_path = '' SET timezone = 'UTC'
AS $$
  SELECT sha256(convert_to(jsonb_build_array(a.id, a.at, a.actor, a.action, a.user_id, a.org_id, a.namespace, a.key, a.data,
    a.event_id, a.thread_id, a.run_id, a.checkpoint_id, a.task_id)::text, 'UTF8'))
$$;

-- part: history
CREATE OR REPLACE FUNCTION memory.record_digest(h memory.memory_history) RETURNS bytea
  LANGUAGE sql STABLE SET search_path = '' SET timezone = 'UTC'
AS $$
  SELECT sha256(convert_to(jsonb_build_array(h.id, h.memory_id, h.namespace, h.key, h.operation, h.value, h.user_id, h.org_id,
    h.agent_id, h.run_id, h.ended_by, h.valid_from, h.valid_to)::text, 'UTF8'))
$$;
REVOKE ALL ON FUNCTION
  memory.record_digest(memory.memory_history) FROM PUBLIC, anon, authenticated, service_role;
-- end of part

-- The records with some ids, erased ones included: how many there are, and the digest of all of
-- them.
CREATE OR REPLACE FUNCTION memory.digest_of(
  source text, ids int8multirange, OUT records bigint, OUT digest bytea)
  LANGUAGE sql STABLE SET search_path = ''
AS $$
  WITH present AS (
    SELECT a.id, memory.record_digest(a) AS digest FROM memory.audit_logs AS a
    WHERE digest_of.source = 'audit_logs' AND a.id >= lower(ids) AND a.id < upper(ids) AND a.id <@ ids
    -- part: history
    UNION ALL
    SELECT h.id, memory.record_digest(h) FROM memory.memory_history AS h
    WHERE digest_of.source = 'memory_history' AND h.id >= lower(ids) AND h.id < upper(ids) AND h.id <@ ids
    -- end of part
    UNION ALL
    SELECT e.id, e.digest FROM memory.erased_records AS e
    WHERE e.source = digest_of.source AND e.id >= lower(ids) AND e.id < upper(ids) AND e.id <@ ids
  )
  SELECT count(*), sha256(coalesce(string_agg(p.digest, '' ORDER BY p.id), '')) FROM present AS p
$$;

-- What ties a seal to the one before it.
CREATE OR REPLACE FUNCTION memory.seal_digest(
  previous bytea, source text, ids int8multirange, content bytea)
  RETURNS bytea
  LANGUAGE sql IMMUTABLE SET search_path = ''
AS $$ SELECT sha256(coalesce(previous, '') || convert_to(source || ids::text, 'UTF8') || content) $$;

-- Seal what was recorded since the last time, at most `most` records; returns how many. It locks
-- nothing that a writer needs. Records may commit in another order than that of their ids, hence
-- a seal says which ones it holds, and a later one looks again from where nothing more can come:
-- what was reached by a seal made well before another one whose time no running transaction has
-- seen. (Well before, since a transaction has its record's id a moment before its own.)
CREATE OR REPLACE FUNCTION memory.seal_records(source text, most int) RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
  last   memory.audit_seals;
  new    memory.audit_seals;
  sealed bigint;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('graph-native-memory seals', 0));
  SELECT * INTO last FROM memory.audit_seals AS s WHERE s.source = seal_records.source ORDER BY s.id DESC LIMIT 1;
  EXECUTE format(
    'SELECT range_agg(int8range(id, id, ''[]'')), count(*), max(id) FROM (
       SELECT r.id FROM memory.%I AS r
       WHERE r.id > $1 AND NOT EXISTS (
         SELECT FROM memory.audit_seals AS s WHERE s.source = $2 AND upper(s.ids) > $1 AND s.ids @> r.id)
       ORDER BY r.id LIMIT $3) AS unsealed', source)
    INTO new.ids, sealed, new.reached USING coalesce(last.settled, 0), source, most;
  IF sealed = 0 THEN
    RETURN 0;
  END IF;
  SELECT max(s.reached) INTO new.settled FROM memory.audit_seals AS s
  WHERE s.source = seal_records.source AND upper(s.ids) > coalesce(last.settled, 0) AND s.sealed_at < (
    SELECT passed.sealed_at FROM memory.audit_seals AS passed
    WHERE passed.horizon <= pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY passed.id DESC LIMIT 1) - interval '10 seconds';
  INSERT INTO memory.audit_seals (source, ids, digest, settled, reached, horizon, sealed_at)
  SELECT seal_records.source, new.ids, memory.seal_digest((
      SELECT s.digest FROM memory.audit_seals AS s ORDER BY s.id DESC LIMIT 1), seal_records.source, new.ids, d.digest),
    greatest(last.settled, least(coalesce(new.settled, 0), new.reached)), greatest(new.reached, last.reached),
    pg_snapshot_xmax(pg_current_snapshot()), clock_timestamp()
  FROM memory.digest_of(source, new.ids) AS d;
  RETURN sealed;
END $$;

-- What does not fit the seals; nothing, where all is as it was recorded. `head` is the digest of
-- a seal that was noted somewhere else: without it nobody could tell if the last seals were
-- taken away, or all of them made anew.
CREATE OR REPLACE FUNCTION memory.verify_records(head bytea)
  RETURNS TABLE (source text, ids text, problem text)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
  seal     memory.audit_seals;
  previous bytea;
  found    record;
  expected bigint;
BEGIN
  FOR seal IN SELECT * FROM memory.audit_seals AS s ORDER BY s.id LOOP
    SELECT * INTO found FROM memory.digest_of(seal.source, seal.ids);
    SELECT sum(upper(r) - lower(r)) INTO expected FROM unnest(seal.ids) AS r;
    source := seal.source;
    ids := seal.ids::text;
    IF found.records <> expected THEN
      problem := format('%s of %s records are missing', expected - found.records, expected);
      RETURN NEXT;
    ELSIF seal.digest <> memory.seal_digest(previous, seal.source, seal.ids, found.digest) THEN
      problem := 'a record, or the seal before, was changed or removed';
      RETURN NEXT;
    END IF;
    previous := seal.digest;
  END LOOP;
  IF head IS NOT NULL AND NOT EXISTS (SELECT FROM memory.audit_seals AS s WHERE s.digest = head) THEN
    RETURN QUERY SELECT 'audit_seals', '', 'the seal that was noted is not there: seals were removed or made anew';
  END IF;
  RETURN QUERY
    SELECT 'erasures', e.id::text, 'no audit record tells of this erasure' FROM memory.erasures AS e
    WHERE NOT EXISTS (
      SELECT FROM memory.audit_logs AS a WHERE a.event_id = e.id AND a.action = 'memory.erased'
        AND a.data ->> 'digest' = encode(memory.erasure_digest(e), 'hex'));
END $$;

CREATE OR REPLACE TRIGGER seals_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON memory.audit_seals
  FOR EACH STATEMENT EXECUTE FUNCTION memory.keep_records();

ALTER TABLE memory.audit_seals ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON memory.audit_seals FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON memory.audit_seals TO service_role;
REVOKE ALL ON FUNCTION
  memory.record_digest(memory.audit_logs), memory.digest_of(text, int8multirange),
  memory.seal_digest(bytea, text, int8multirange, bytea), memory.seal_records(text, int),
  memory.verify_records(bytea) FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION
  memory.seal_records(text, int), memory.verify_records(bytea) TO service_role;

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

-- Export and erasure: a person's rights ---------------------------------------------------------

-- Which tables outside this schema hold rows of people, and take part in export and erasure:
-- `memory.keep_as_personal`.
CREATE TABLE IF NOT EXISTS memory.personal_business_tables (
  table_schema text NOT NULL,
  table_name   text NOT NULL,
  added_at     timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (table_schema, table_name)
);

-- Have a business table take part in export and erasure: a person's rows are those with their id
-- in `user_id`. Whoever owns the schema calls this where the table is made; calling it again
-- changes nothing, and a table that is dropped is forgotten.
CREATE OR REPLACE FUNCTION memory.keep_as_personal(business_table regclass) RETURNS void
  LANGUAGE plpgsql SET search_path = ''
AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = business_table AND a.attname = 'user_id'
    AND a.atttypid = 'text'::regtype AND NOT a.attisdropped) THEN
    RAISE undefined_column USING MESSAGE = format('%s needs a column user_id of type text, to tell whose a row is', business_table);
  END IF;
  INSERT INTO memory.personal_business_tables (table_schema, table_name)
  SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  WHERE c.oid = business_table
  ON CONFLICT DO NOTHING;
END $$;

-- Every table with a person's rows, and in which columns they are named. What has such a column
-- belongs to the person.
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

-- Only the person themselves and the service may ask for everything about a person.
CREATE OR REPLACE FUNCTION memory.check_subject(subject text) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = ''
AS $$
BEGIN
  IF current_setting('role') <> 'service_role' AND subject IS DISTINCT FROM (SELECT auth.uid())::text THEN
    RAISE insufficient_privilege USING MESSAGE = 'what is kept about another user is not for this one';
  ELSIF memory.agent_label() IS NOT NULL THEN
    RAISE insufficient_privilege USING MESSAGE = 'everything about a person is for the person, not for one of their agents';
  ELSIF coalesce(subject, '') = '' THEN
    RAISE invalid_parameter_value USING MESSAGE = 'the user''s id is empty';
  END IF;
END $$;

-- A person's rows of one table, a page at a time: those after a number, which is NULL for tables
-- without one.
CREATE OR REPLACE FUNCTION memory.export_rows(subject text, source text, after bigint, most int)
  RETURNS TABLE (number bigint, content jsonb)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' SET timezone = 'UTC'
AS $$
DECLARE
  named record;
BEGIN
  PERFORM memory.check_subject(subject);
  SELECT * INTO STRICT named FROM memory.personal_tables() AS t WHERE t.name = source;
  RETURN QUERY EXECUTE format(
    'SELECT %1$s, to_jsonb(t) FROM %2$s AS t WHERE (%3$s) AND (%1$s > $2) IS NOT FALSE
     ORDER BY %1$s FETCH FIRST $3 ROWS WITH TIES',
    coalesce(quote_ident(named.pages_by), 'NULL::bigint'), named.name,
    (SELECT string_agg(format('t.%I = $1', c), ' OR ') FROM unnest(named.columns) AS c))
    USING subject, after, most;
END $$;

-- The threads whose state is about one person alone, of those that are given and those that their
-- runs made. The server notes in each checkpoint whose run made it. Where no server did, the rows
-- of memory decide: a thread in which others have rows, or organisations, is not one person's.
CREATE OR REPLACE FUNCTION memory.threads_of(subject text, given text[], others text[])
  RETURNS text[]
  LANGUAGE plpgsql STABLE SET search_path = ''
AS $$ BEGIN
  IF to_regclass('langgraph.checkpoints') IS NULL THEN RETURN '{}'; END IF;
  RETURN ARRAY(
    SELECT t.thread_id FROM (
      SELECT c.thread_id, bool_and(c.metadata ->> 'langgraph_auth_user_id' = subject) AS theirs
      FROM langgraph.checkpoints AS c
      WHERE c.thread_id = ANY (given) OR c.metadata ->> 'langgraph_auth_user_id' = subject
      GROUP BY 1) AS t
    WHERE coalesce(t.theirs AND NOT EXISTS (
        SELECT FROM langgraph.checkpoints AS c
        WHERE c.thread_id = t.thread_id AND c.metadata ->> 'langgraph_auth_user_id' <> subject),
      t.theirs IS NULL AND t.thread_id <> ALL (others)));
END $$;

-- Remove all that is kept about a person, in one transaction, and leave a certificate. What was
-- erased elsewhere for them is added to it: {name: number}. Their threads go, and the runs of these
-- threads store nothing more. Of what was recorded only digests stay, which the seals need.
DROP FUNCTION IF EXISTS memory.erase_user(text);
CREATE OR REPLACE FUNCTION memory.erase_user(subject text, elsewhere jsonb DEFAULT '{}')
  RETURNS memory.erasures
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
  certificate memory.erasures;
  personal    record;
  condition   text;
  n           bigint;
  threads     text[] := '{}';
  others      text[] := '{}';
  part        text[];
  recorded    text[] := '{}';
  name        text;
BEGIN
  PERFORM memory.check_subject(subject);
  IF jsonb_typeof(elsewhere) <> 'object' OR jsonb_path_exists(elsewhere, '$.* ? (@.type() <> "number" || @ < 0)')
    OR elsewhere - ARRAY['server schedules', 'server threads', 'server assistants'] <> '{}' THEN
    RAISE invalid_parameter_value USING MESSAGE =
      'elsewhere must be an object of numbers of "server schedules", "server threads" and "server assistants"';
  END IF;
  certificate.id := gen_random_uuid();
  certificate.subject := sha256(convert_to(subject, 'UTF8'));
  certificate.erased := elsewhere;
  PERFORM set_config('memory.erasing', certificate.id::text, true);

  FOR personal IN SELECT * FROM memory.personal_tables() LOOP
    -- Everywhere else a person may name any thread in a row of their own.
    IF personal.name IN ('memory.audit_logs', 'memory.memories', 'memory.recall_receipts') THEN
      SELECT string_agg(format('t.%I = $1', c), ' OR ') INTO condition FROM unnest(personal.columns) AS c;
      EXECUTE format('SELECT array_agg(DISTINCT thread_id) FROM %s AS t WHERE %s', personal.name, condition) INTO part USING subject;
      threads := threads || part;
      recorded := recorded || personal.name;
    END IF;
  END LOOP;
  FOREACH name IN ARRAY recorded LOOP
    EXECUTE format('SELECT array_agg(DISTINCT thread_id) FROM %s AS t WHERE user_id IS DISTINCT FROM $1 AND thread_id = ANY ($2)', name)
      INTO part USING subject, threads;
    others := others || part;
  END LOOP;
  -- Threads go first: their locks wait for what runs are writing, and are waited for by no row's lock.
  certificate.erased := certificate.erased || memory.delete_threads(memory.threads_of(subject, threads, others));

  -- Jobs go next: what one that runs meanwhile would store or report is refused for want of its turns, and of the job.
  PERFORM pg_advisory_xact_lock(hashtextextended('facts:' || subject, 0));
  DELETE FROM procrastinate.procrastinate_jobs AS j WHERE j.args ->> 'user_id' = subject;
  GET DIAGNOSTICS n = ROW_COUNT;
  certificate.erased := certificate.erased || CASE WHEN n > 0 THEN jsonb_build_object('jobs', n) ELSE '{}' END;

  FOR personal IN SELECT * FROM memory.personal_tables() LOOP
    SELECT string_agg(format('t.%I = $1', c), ' OR ') INTO condition FROM unnest(personal.columns) AS c;
    EXECUTE format('SELECT count(*) FROM %s AS t WHERE %s', personal.name, condition) INTO n USING subject;
    certificate.erased := certificate.erased || CASE WHEN n > 0 THEN jsonb_build_object(personal.name, n) ELSE '{}' END;
  END LOOP;

  -- What left under a pseudonym is to be removed where it went, once what is on its way has arrived.
  n := 0;
  FOR personal IN
    WITH gone AS (DELETE FROM memory.deliveries AS d WHERE d.user_id = subject RETURNING d.adapter, d.mode, d.pseudonym)
    SELECT g.adapter, g.pseudonym, min(g.mode) AS mode, gen_random_uuid() AS id FROM gone AS g
    WHERE g.pseudonym IS NOT NULL GROUP BY 1, 2
  LOOP
    INSERT INTO memory.deliveries (id, adapter, mode, pseudonym, intent) VALUES (personal.id, personal.adapter,
      personal.mode, personal.pseudonym, jsonb_build_object('kind', 'user_erased', 'pseudonym', personal.pseudonym));
    PERFORM memory.queue_delivery(personal.id, personal.adapter, subject);
    n := n + 1;
  END LOOP;
  certificate.erased := certificate.erased || CASE WHEN n > 0 THEN jsonb_build_object('erasures queued outside', n) ELSE '{}' END;

  -- Deleting memories makes records; these go last.
  FOR personal IN
    SELECT t.name, t.columns FROM memory.personal_tables() AS t WHERE t.name NOT IN ('memory.audit_logs', 'memory.memory_history')
    ORDER BY t.name = 'memory.memories' DESC
  LOOP
    EXECUTE format('DELETE FROM %s AS t WHERE %s', personal.name, (
      SELECT string_agg(format('t.%I = $1', c), ' OR ') FROM unnest(personal.columns) AS c)) USING subject;
  END LOOP;
  -- part: history
  WITH gone AS (
    DELETE FROM memory.memory_history AS h WHERE h.user_id = subject RETURNING h.id, memory.record_digest(h) AS digest
  )
  INSERT INTO memory.erased_records SELECT 'memory_history', g.id, g.digest, certificate.id FROM gone AS g;
  -- end of part
  WITH gone AS (
    DELETE FROM memory.audit_logs AS a WHERE a.user_id = subject OR a.actor = subject OR a.data ->> 'about' = subject
    RETURNING a.id, memory.record_digest(a) AS digest
  )
  INSERT INTO memory.erased_records SELECT 'audit_logs', g.id, g.digest, certificate.id FROM gone AS g;

  -- A load of everybody that stands at this person begins again: it finds what it has done, and tells nobody where it was.
  WITH begun AS (
    UPDATE memory.brain_loads AS l SET cursor = '', done = 0, saved = 0, unchanged = 0, failed = 0
    WHERE l.kind = 'users' AND l.cursor = subject RETURNING l.id
  )
  DELETE FROM memory.brain_load_errors AS e USING begun WHERE e.load_id = begun.id;

  certificate.erased_at := now();
  certificate.digest := memory.erasure_digest(certificate);
  INSERT INTO memory.erasures SELECT certificate.*;
  INSERT INTO memory.audit_logs (actor, action, data, event_id) VALUES (
    CASE WHEN memory.actor() = subject THEN 'the person' ELSE memory.actor() END, 'memory.erased',
    jsonb_build_object('digest', encode(certificate.digest, 'hex'), 'rows', certificate.erased), certificate.id);
  PERFORM set_config('memory.erasing', '', true);
  RETURN certificate;
END $$;

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

ALTER TABLE memory.personal_business_tables ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON memory.personal_business_tables FROM PUBLIC, anon, authenticated, service_role;
REVOKE ALL ON FUNCTION
  memory.keep_as_personal(regclass), memory.personal_tables(), memory.check_subject(text),
  memory.export_rows(text, text, bigint, int), memory.erase_user(text, jsonb),
  memory.threads_of(text, text[], text[]), memory.certify_erasure(memory.erasures, text), memory.may_erase(text),
  memory.erase_memory(text, text, timestamptz)
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION
  memory.personal_tables(), memory.check_subject(text),
  memory.export_rows(text, text, bigint, int), memory.erase_user(text, jsonb),
  memory.erase_memory(text, text, timestamptz)
  TO authenticated, service_role;

-- Readable JSON, in every table in which people write it ----------------------------------------

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

RESET search_path;
RESET client_min_messages;
