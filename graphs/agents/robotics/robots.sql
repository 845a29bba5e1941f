-- name: fitting
-- Models that satisfy all conditions.
SELECT model FROM public.robot_catalog
WHERE (%(category)s::text IS NULL OR category = %(category)s::text)
  AND (%(max_price)s::numeric IS NULL OR price <= %(max_price)s::numeric)
  AND coalesce(payload_kg, 0) >= %(min_payload_kg)s::float8
  AND coalesce(reach_mm, 0) >= %(min_reach_mm)s::float8
ORDER BY model

-- name: facts
SELECT r.model, maker, category, price::float8 AS price, payload_kg, reach_mm
FROM unnest(%(models)s::text[]) WITH ORDINALITY AS asked (model, place)
  JOIN public.robot_catalog AS r ON lower(r.model) = lower(asked.model)
ORDER BY place
