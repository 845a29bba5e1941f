-- name: apply
-- An equal application within ten minutes counts as the same one, so that a retried step does not
-- apply twice.
WITH given AS (
  SELECT %(user_id)s::text AS user_id,
    (SELECT id FROM public.robot_catalog WHERE lower(model) = lower(%(robot)s::text)) AS robot_id,
    %(business_name)s::text AS business_name, %(amount)s::numeric(12, 2) AS amount,
    %(down_payment)s::numeric(12, 2) AS down_payment,
    %(term_months)s::int AS term_months, %(annual_revenue)s::numeric(14, 2) AS annual_revenue,
    %(years_in_business)s::real AS years_in_business
), already AS (
  SELECT a.id FROM public.applications AS a, given AS g
  WHERE a.user_id = g.user_id AND a.created_at > now() - interval '10 minutes'
    AND (a.robot_id, a.business_name, a.amount, a.down_payment, a.term_months,
      a.annual_revenue, a.years_in_business)
    IS NOT DISTINCT FROM
    (g.robot_id, g.business_name, g.amount, g.down_payment, g.term_months,
      g.annual_revenue, g.years_in_business)
  LIMIT 1
), made AS (
  INSERT INTO public.applications
    (user_id, robot_id, business_name, amount, down_payment, term_months, annual_revenue,
      years_in_business)
  SELECT * FROM given WHERE NOT EXISTS (SELECT FROM already) RETURNING id
)
SELECT id::text AS id FROM already UNION ALL SELECT id::text FROM made

-- name: latest
-- A user's applications whose id begins with `reference`, the latest first.
SELECT a.id::text AS id, a.business_name, a.amount::float8 AS amount,
  a.down_payment::float8 AS down_payment, a.term_months,
  a.annual_revenue::float8 AS annual_revenue, a.years_in_business, a.status, a.score,
  a.score_reasons, a.created_at, a.updated_at, r.model AS robot, r.price::float8 AS list_price
FROM public.applications AS a LEFT JOIN public.robot_catalog AS r ON r.id = a.robot_id
WHERE a.user_id = %(user_id)s AND starts_with(a.id::text, %(reference)s::text)
ORDER BY a.created_at DESC, a.id LIMIT %(limit)s::int

-- name: record_score
-- Writes only if the application was not changed since it was scored; otherwise returns no row.
WITH scored AS (
  UPDATE public.applications
  SET score = %(score)s::real, score_reasons = %(reasons)s::jsonb, status = %(decision)s
  WHERE id = %(id)s::uuid AND user_id = %(user_id)s AND updated_at = %(read_at)s::timestamptz
  RETURNING id, user_id
)
INSERT INTO public.application_scores
  (application_id, user_id, score, decision, reasons, inputs, rule)
SELECT id, user_id, %(score)s::real, %(decision)s, %(reasons)s::jsonb, %(inputs)s::jsonb, %(rule)s
FROM scored
RETURNING id

-- name: scores
SELECT s.application_id::text AS application, s.score, s.decision, s.reasons, s.rule, s.created_at
FROM public.application_scores AS s
WHERE s.user_id = %(user_id)s AND starts_with(s.application_id::text, %(reference)s::text)
ORDER BY s.id DESC LIMIT %(limit)s::int
