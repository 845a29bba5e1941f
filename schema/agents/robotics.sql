-- The business tables of the example agents: financing robots.
--
-- Every `schema/agents/*.sql` holds business tables of somebody's agents and is applied after
-- `supabase_schema.sql`, in the order of names, in the same transaction. Whoever writes agents of
-- their own deletes this file together with `graphs/agents/`, and nothing of it is left. Same order
-- as there; running it again changes nothing.
--
-- What a robot is like is told by a memory of the knowledge agent, ("agents", "knowledge",
-- "robots"), whose key is the model: here are the facts that are compared and calculated with.

SET client_min_messages = warning;
SET search_path = public;

-- Tables ------------------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS public.dealers (
  id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  name        text NOT NULL,
  zip_code    text NOT NULL CHECK (zip_code ~ '^[0-9]{5}$'),
  city        text NOT NULL,
  state       text NOT NULL,
  latitude    float8 NOT NULL CHECK (latitude BETWEEN -90 AND 90),
  longitude   float8 NOT NULL CHECK (longitude BETWEEN -180 AND 180),
  specialties text[] NOT NULL DEFAULT '{}',
  rating      real CHECK (rating BETWEEN 0 AND 5),
  phone       text,
  created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS public.robot_catalog (
  id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  model      text COLLATE "C" NOT NULL UNIQUE,
  maker      text NOT NULL,
  category   text NOT NULL,
  price      numeric(12, 2) NOT NULL CHECK (price > 0),       -- US dollars
  payload_kg real CHECK (payload_kg >= 0),
  reach_mm   int CHECK (reach_mm >= 0),
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS public.applications (
  id                uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  user_id           text COLLATE "C" NOT NULL,
  robot_id          uuid REFERENCES public.robot_catalog (id) ON DELETE SET NULL,
  dealer_id         uuid REFERENCES public.dealers (id) ON DELETE SET NULL,
  business_name     text,
  -- of the purchase, in US dollars
  amount            numeric(12, 2) NOT NULL CHECK (amount > 0),
  down_payment      numeric(12, 2) NOT NULL DEFAULT 0 CHECK (down_payment >= 0),
  term_months       int NOT NULL CHECK (term_months BETWEEN 1 AND 120),
  annual_revenue    numeric(14, 2) CHECK (annual_revenue >= 0),
  years_in_business real CHECK (years_in_business >= 0),
  status            text NOT NULL DEFAULT 'draft' CHECK (status
    IN ('draft', 'submitted', 'approved', 'declined')),
  score             real CHECK (score BETWEEN 0 AND 100),
  score_reasons     jsonb NOT NULL DEFAULT '[]',
  created_at        timestamptz NOT NULL DEFAULT now(),
  updated_at        timestamptz NOT NULL DEFAULT now()
);

-- Every scoring: what it was made of, and why it came out so.
CREATE TABLE IF NOT EXISTS public.application_scores (
  id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  application_id uuid NOT NULL REFERENCES public.applications (id) ON DELETE CASCADE,
  user_id        text COLLATE "C" NOT NULL,
  score          real NOT NULL CHECK (score BETWEEN 0 AND 100),
  decision       text NOT NULL CHECK (decision IN ('submitted', 'approved', 'declined')),
  -- [{component, points, most, because}, …]
  reasons        jsonb NOT NULL,
  inputs         jsonb NOT NULL,
  rule           text NOT NULL,                                      -- which version of the rule
  created_at     timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS public.leads (
  id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  user_id    text COLLATE "C" NOT NULL,
  interest   text NOT NULL CHECK (interest <> ''),
  company    text,
  budget     numeric(12, 2) CHECK (budget > 0),
  timeline   text,
  status     text NOT NULL DEFAULT 'new' CHECK (status
    IN ('new', 'contacted', 'qualified', 'won', 'lost')),
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);

SELECT memory.keep_as_personal('public.applications'),
  memory.keep_as_personal('public.application_scores'),
  memory.keep_as_personal('public.leads');

-- Indexes -----------------------------------------------------------------------------------------

CREATE INDEX IF NOT EXISTS applications_user   ON public.applications (user_id, created_at DESC);
CREATE INDEX IF NOT EXISTS applications_robot  ON public.applications (robot_id);
CREATE INDEX IF NOT EXISTS applications_dealer ON public.applications (dealer_id);
CREATE INDEX IF NOT EXISTS scores_application
  ON public.application_scores (application_id, id DESC);
CREATE INDEX IF NOT EXISTS scores_user         ON public.application_scores (user_id, id DESC);
CREATE INDEX IF NOT EXISTS leads_user          ON public.leads (user_id, created_at DESC);
CREATE INDEX IF NOT EXISTS dealers_zip_code    ON public.dealers (zip_code);
CREATE INDEX IF NOT EXISTS robots_category     ON public.robot_catalog (category);

-- Functions and triggers --------------------------------------------------------------------------

-- A score, and what was decided on it, belong to what was scored: where a person changes that
-- afterwards, the application is a draft again. Only the service scores.
CREATE OR REPLACE FUNCTION public.stamp_application() RETURNS trigger
  LANGUAGE plpgsql SET search_path = ''
AS $$
BEGIN
  -- a version that only grows
  NEW.updated_at := greatest(clock_timestamp(), OLD.updated_at + interval '1 microsecond');
  IF current_setting('role') = 'authenticated' THEN
    NEW.status := 'draft';
    NEW.score := NULL;
    NEW.score_reasons := '[]';
  END IF;
  RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION public.stamp_lead() RETURNS trigger
  LANGUAGE plpgsql SET search_path = ''
AS $$
BEGIN
  NEW.updated_at := now();
  RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER applications_stamped BEFORE UPDATE ON public.applications
  FOR EACH ROW EXECUTE FUNCTION public.stamp_application();
CREATE OR REPLACE TRIGGER leads_stamped BEFORE UPDATE ON public.leads
  FOR EACH ROW EXECUTE FUNCTION public.stamp_lead();

CREATE OR REPLACE TRIGGER applications_recorded AFTER INSERT OR UPDATE OR DELETE
  ON public.applications
  FOR EACH ROW EXECUTE FUNCTION memory.record_knowledge_change('application');
CREATE OR REPLACE TRIGGER scores_recorded AFTER INSERT OR UPDATE OR DELETE
  ON public.application_scores
  FOR EACH ROW EXECUTE FUNCTION memory.record_knowledge_change('score');
CREATE OR REPLACE TRIGGER leads_recorded AFTER INSERT OR UPDATE OR DELETE ON public.leads
  FOR EACH ROW EXECUTE FUNCTION memory.record_knowledge_change('lead');
CREATE OR REPLACE TRIGGER dealers_recorded AFTER INSERT OR UPDATE OR DELETE ON public.dealers
  FOR EACH ROW EXECUTE FUNCTION memory.record_knowledge_change('dealer');
CREATE OR REPLACE TRIGGER robots_recorded AFTER INSERT OR UPDATE OR DELETE ON public.robot_catalog
  FOR EACH ROW EXECUTE FUNCTION memory.record_knowledge_change('robot');

-- Row-level security ------------------------------------------------------------------------------

ALTER TABLE public.dealers            ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.robot_catalog      ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.applications       ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.application_scores ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.leads              ENABLE ROW LEVEL SECURITY;

DROP POLICY IF EXISTS readable ON public.dealers;
CREATE POLICY readable ON public.dealers FOR SELECT TO authenticated USING (true);

DROP POLICY IF EXISTS readable ON public.robot_catalog;
CREATE POLICY readable ON public.robot_catalog FOR SELECT TO authenticated USING (true);

DROP POLICY IF EXISTS own ON public.applications;
CREATE POLICY own ON public.applications TO authenticated
  USING (user_id = (SELECT auth.uid())::text) WITH CHECK (user_id = (SELECT auth.uid())::text);

DROP POLICY IF EXISTS readable ON public.application_scores;
CREATE POLICY readable ON public.application_scores FOR SELECT TO authenticated
  USING (user_id = (SELECT auth.uid())::text);

DROP POLICY IF EXISTS own ON public.leads;
CREATE POLICY own ON public.leads TO authenticated
  USING (user_id = (SELECT auth.uid())::text) WITH CHECK (user_id = (SELECT auth.uid())::text);

-- Where an agent acts for a person, each table of theirs is open to the one agent whose business it
-- is. Restrictive: beside the others; the person themselves has no such label.
DROP POLICY IF EXISTS own_agent ON public.applications;
CREATE POLICY own_agent ON public.applications AS RESTRICTIVE TO authenticated
  USING (coalesce((SELECT memory.agent_label()) = 'agent:financing', true));

DROP POLICY IF EXISTS own_agent ON public.application_scores;
CREATE POLICY own_agent ON public.application_scores AS RESTRICTIVE TO authenticated
  USING (coalesce((SELECT memory.agent_label()) = 'agent:financing', true));

DROP POLICY IF EXISTS own_agent ON public.leads;
CREATE POLICY own_agent ON public.leads AS RESTRICTIVE TO authenticated
  USING (coalesce((SELECT memory.agent_label()) = 'agent:sales', true));

-- Grants: nothing for `anon`, nothing by default --------------------------------------------------

REVOKE ALL ON public.dealers, public.robot_catalog, public.applications, public.application_scores,
  public.leads
  FROM PUBLIC, anon, authenticated, service_role;
REVOKE ALL ON SEQUENCE public.application_scores_id_seq
  FROM PUBLIC, anon, authenticated, service_role;
REVOKE ALL ON FUNCTION public.stamp_application(), public.stamp_lead()
  FROM PUBLIC, anon, authenticated, service_role;

GRANT SELECT ON public.dealers, public.robot_catalog TO authenticated, service_role;
GRANT INSERT, UPDATE, DELETE ON public.dealers, public.robot_catalog TO service_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.applications, public.leads TO service_role;
GRANT SELECT, INSERT ON public.application_scores TO service_role;
-- A person applies; whether it is approved, and with which score, is not theirs to write. Nor is
-- how far a lead has come.
GRANT SELECT ON public.application_scores TO authenticated;
GRANT SELECT, DELETE,
  INSERT (user_id, robot_id, dealer_id, business_name, amount, down_payment, term_months,
    annual_revenue, years_in_business),
  UPDATE (robot_id, dealer_id, business_name, amount, down_payment, term_months, annual_revenue,
    years_in_business)
  ON public.applications TO authenticated;
GRANT SELECT, DELETE, INSERT (user_id, interest, company, budget, timeline),
  UPDATE (interest, company, budget, timeline)
  ON public.leads TO authenticated;

RESET search_path;
RESET client_min_messages;
