-- Makes a plain Postgres look like a Supabase project, as far as Graph-Native Memory needs it.
--
-- `MemoryManager.setup()` runs this where the schema `auth` is missing. It is never run on
-- Supabase, which brings the real thing. Running it again changes nothing. It needs the right to
-- create roles; roles belong to the whole cluster, so several databases may be prepared at the same
-- time.

-- Roles -------------------------------------------------------------------------------------------

DO $$
DECLARE
  wanted record;
BEGIN
  FOR wanted IN
    SELECT * FROM (VALUES
      ('anon',          'NOLOGIN NOINHERIT'),
      ('authenticated', 'NOLOGIN NOINHERIT'),
      ('service_role',  'NOLOGIN NOINHERIT BYPASSRLS')
    ) AS roles (name, options)
  LOOP
    BEGIN
      IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted.name) THEN
        EXECUTE pg_catalog.format('CREATE ROLE %I %s', wanted.name, wanted.options);
      END IF;
    EXCEPTION
      -- Another database of this cluster was faster.
      WHEN duplicate_object OR unique_violation THEN NULL;
    END;
  END LOOP;
END $$;

-- The role that connects must be able to act as the roles that requests run under.
DO $$
BEGIN
  IF NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
    GRANT anon, authenticated, service_role TO current_user;
  END IF;
END $$;

-- Schemas -----------------------------------------------------------------------------------------

CREATE SCHEMA IF NOT EXISTS extensions;
CREATE SCHEMA IF NOT EXISTS auth;
CREATE SCHEMA IF NOT EXISTS storage;

GRANT USAGE ON SCHEMA extensions, auth, storage TO anon, authenticated, service_role;

-- Who is asking: the claims that the API layer sets for one transaction ---------------------------

CREATE OR REPLACE FUNCTION auth.jwt() RETURNS jsonb
  LANGUAGE sql STABLE SET search_path = ''
AS $$ SELECT nullif(current_setting('request.jwt.claims', true), '')::jsonb $$;

CREATE OR REPLACE FUNCTION auth.uid() RETURNS uuid
  -- as on Supabase without a search path of its own, so that policies can inline it
  LANGUAGE sql STABLE
AS $$ SELECT (nullif(nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub',
  ''))::uuid $$;

CREATE OR REPLACE FUNCTION auth.role() RETURNS text
  LANGUAGE sql STABLE SET search_path = ''
AS $$ SELECT auth.jwt() ->> 'role' $$;

GRANT EXECUTE ON FUNCTION auth.jwt(), auth.uid(), auth.role() TO anon, authenticated, service_role;

-- People and files: the columns that our own tables and policies can point at ---------------------

CREATE TABLE IF NOT EXISTS auth.users (
  id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  email      text UNIQUE,
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS storage.buckets (
  id         text PRIMARY KEY,
  name       text NOT NULL UNIQUE,
  public     boolean NOT NULL DEFAULT false,
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS storage.objects (
  id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  bucket_id  text REFERENCES storage.buckets (id),
  name       text NOT NULL,
  owner_id   text,
  metadata   jsonb,
  created_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (bucket_id, name)
);

ALTER TABLE auth.users      ENABLE ROW LEVEL SECURITY;
ALTER TABLE storage.buckets ENABLE ROW LEVEL SECURITY;
ALTER TABLE storage.objects ENABLE ROW LEVEL SECURITY;
