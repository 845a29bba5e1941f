-- name: nearest
-- Dealers by distance in miles along the great circle: the haversine formula (R. W. Sinnott,
-- "Virtues of the Haversine", Sky and Telescope 68, 1984) with the earth's mean radius of 3,958.76
-- miles (IUGG). `least` keeps rounding errors out of asin.
SELECT name, city, state, zip_code, specialties, rating, phone, distance
FROM (
  SELECT d.*, 2 * 3958.76 * asin(sqrt(least(1,
    sin(radians(d.latitude - %(latitude)s::float8) / 2) ^ 2
    + cos(radians(%(latitude)s::float8)) * cos(radians(d.latitude))
    * sin(radians(d.longitude - %(longitude)s::float8) / 2) ^ 2))) AS distance
  FROM public.dealers AS d
  WHERE (%(specialty)s::text IS NULL OR %(specialty)s::text = ANY (d.specialties))
    AND coalesce(d.rating, 0) >= %(minimum_rating)s::float8
) AS found
WHERE distance <= %(within_miles)s::float8
ORDER BY CASE WHEN %(best_first)s::boolean THEN coalesce(rating, 0) END DESC, distance, name
LIMIT %(limit)s::int
