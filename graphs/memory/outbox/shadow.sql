-- name: put
-- Record a comparison.
INSERT INTO memory.shadow_comparisons (
  candidate, user_id, at_most, ours, theirs, overlap, correlation, our_seconds, their_seconds,
  error)
VALUES (%(candidate)s, %(user_id)s, %(at_most)s, %(ours)s::jsonb, %(theirs)s::jsonb, %(overlap)s,
  %(correlation)s, %(our_seconds)s, %(their_seconds)s, %(error)s)

-- name: summary
-- A summary of each candidate's comparisons of the last hours.
SELECT candidate, count(*) AS comparisons, count(*) FILTER (WHERE error IS NOT NULL) AS failures,
  avg(overlap)::float8 AS overlap, avg(correlation)::float8 AS correlation,
  count(*) FILTER (WHERE ours <> theirs) AS different,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY our_seconds) AS our_median_seconds,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY their_seconds) AS their_median_seconds
FROM memory.shadow_comparisons WHERE at > now() - %(hours)s::float8 * interval '1 hour'
GROUP BY candidate ORDER BY candidate
