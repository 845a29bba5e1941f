-- name: save
-- The same interest again updates the lead: new details replace the earlier ones.
WITH known AS (
  UPDATE public.leads SET company = coalesce(%(company)s::text, company),
    budget = coalesce(%(budget)s::numeric, budget),
    timeline = coalesce(%(timeline)s::text, timeline)
  WHERE user_id = %(user_id)s::text AND lower(interest) = lower(%(interest)s::text)
  RETURNING id
), made AS (
  INSERT INTO public.leads (user_id, interest, company, budget, timeline)
  SELECT %(user_id)s::text, %(interest)s::text, %(company)s::text, %(budget)s::numeric,
    %(timeline)s::text
  WHERE NOT EXISTS (SELECT FROM known) RETURNING id
)
SELECT id::text AS id, false AS is_new FROM known UNION ALL SELECT id::text, true FROM made

-- name: latest
SELECT id::text AS id, interest, company, budget::float8 AS budget, timeline, status, created_at
FROM public.leads WHERE user_id = %(user_id)s ORDER BY created_at DESC, id LIMIT %(limit)s::int
