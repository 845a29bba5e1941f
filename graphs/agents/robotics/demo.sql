-- name: put_dealers
WITH given AS (
  SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb)
    AS r (id uuid, name text, zip_code text, city text, state text, latitude float8,
      longitude float8, specialties text[], rating real, phone text)
), written AS (
  INSERT INTO public.dealers AS d
    (id, name, zip_code, city, state, latitude, longitude, specialties, rating, phone)
  SELECT * FROM given
  ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name, zip_code = EXCLUDED.zip_code,
    city = EXCLUDED.city, state = EXCLUDED.state,
    latitude = EXCLUDED.latitude, longitude = EXCLUDED.longitude,
    specialties = EXCLUDED.specialties, rating = EXCLUDED.rating, phone = EXCLUDED.phone
  WHERE (d.name, d.zip_code, d.latitude, d.longitude, d.specialties, d.rating, d.phone)
    IS DISTINCT FROM
    (EXCLUDED.name, EXCLUDED.zip_code, EXCLUDED.latitude, EXCLUDED.longitude,
    EXCLUDED.specialties, EXCLUDED.rating, EXCLUDED.phone)
  RETURNING 1
)
SELECT count(*)::int AS n FROM written

-- name: put_robots
WITH written AS (
  INSERT INTO public.robot_catalog AS c (model, maker, category, price, payload_kg, reach_mm)
  SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb)
    AS r (model text, maker text, category text, price numeric, payload_kg real, reach_mm int)
  ON CONFLICT (model) DO UPDATE SET maker = EXCLUDED.maker, category = EXCLUDED.category,
    price = EXCLUDED.price, payload_kg = EXCLUDED.payload_kg, reach_mm = EXCLUDED.reach_mm
  WHERE (c.maker, c.category, c.price, c.payload_kg, c.reach_mm) IS DISTINCT FROM
    (EXCLUDED.maker, EXCLUDED.category, EXCLUDED.price, EXCLUDED.payload_kg, EXCLUDED.reach_mm)
  RETURNING 1
)
SELECT count(*)::int AS n FROM written

-- name: put_applications
-- An existing row belongs to a user who may have changed it, so it stays as it is.
WITH written AS (
  INSERT INTO public.applications
    (id, user_id, robot_id, business_name, amount, down_payment, term_months, annual_revenue,
    years_in_business)
  SELECT r.id, r.user_id, c.id, r.business_name, r.amount, r.down_payment, r.term_months,
    r.annual_revenue, r.years_in_business
  FROM jsonb_to_recordset(%(rows)s::jsonb)
    AS r (id uuid, user_id text, robot text, business_name text, amount numeric,
      down_payment numeric, term_months int, annual_revenue numeric, years_in_business real)
  LEFT JOIN public.robot_catalog AS c ON c.model = r.robot
  ON CONFLICT DO NOTHING RETURNING 1
)
SELECT count(*)::int AS n FROM written

-- name: put_leads
WITH written AS (
  INSERT INTO public.leads (id, user_id, interest, company, budget, timeline, status)
  SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb)
    AS r (id uuid, user_id text, interest text, company text, budget numeric, timeline text,
      status text)
  ON CONFLICT DO NOTHING RETURNING 1
)
SELECT count(*)::int AS n FROM written

-- name: remove_dealers
WITH gone AS (DELETE FROM public.dealers WHERE id::text = ANY (%(keys)s::text[]) RETURNING 1)
SELECT count(*)::int AS n FROM gone

-- name: remove_robots
WITH gone AS (DELETE FROM public.robot_catalog WHERE model = ANY (%(keys)s::text[]) RETURNING 1)
SELECT count(*)::int AS n FROM gone

-- name: remove_applications
WITH gone AS (DELETE FROM public.applications WHERE id::text = ANY (%(keys)s::text[]) RETURNING 1)
SELECT count(*)::int AS n FROM gone

-- name: remove_leads
WITH gone AS (DELETE FROM public.leads WHERE id::text = ANY (%(keys)s::text[]) RETURNING 1)
SELECT count(*)::int AS n FROM gone
