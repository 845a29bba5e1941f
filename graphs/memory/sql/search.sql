-- name: browse
-- Items of a scope without a query: newest change first, with a tie-breaker so that pages never overlap.
SELECT namespace, key, value, created_at, updated_at, NULL::float8 AS score,
  expires_at < now() + ttl_minutes * interval '54 seconds' AS stale
FROM memory.memories
WHERE namespace >= %(low)s AND (%(high)s::text IS NULL OR namespace < %(high)s)
  AND (expires_at IS NULL OR expires_at > now())
  AND value @> %(contains)s::jsonb
  AND (%(filter)s::jsonb IS NULL OR memory.matches(value, %(filter)s::jsonb))
ORDER BY updated_at DESC, seq DESC
LIMIT %(limit)s OFFSET %(offset)s

-- name: nearest
-- Items of a scope by the best of their vectors: exact, whatever the number of vectors elsewhere. A zero vector has no
-- direction and scores 0, where the operator alone would give NaN, which sorts before every number. The range is said
-- for both tables: the planner does not conclude it for the one from the other.
SELECT m.namespace, m.key, m.value, m.created_at, m.updated_at, scored.score,
  m.expires_at < now() + m.ttl_minutes * interval '54 seconds' AS stale
FROM (
  SELECT e.namespace, e.key, max(coalesce(nullif(1 - (e.embedding <=> %(query)s::halfvec), 'NaN'), 0)) AS score
  FROM memory.memory_embeddings AS e
  WHERE e.namespace >= %(low)s AND (%(high)s::text IS NULL OR e.namespace < %(high)s) AND e.model = %(model)s
  GROUP BY e.namespace, e.key
) AS scored
JOIN memory.memories AS m ON m.namespace = scored.namespace AND m.key = scored.key
WHERE m.namespace >= %(low)s AND (%(high)s::text IS NULL OR m.namespace < %(high)s)
  AND (m.expires_at IS NULL OR m.expires_at > now())
  AND m.value @> %(contains)s::jsonb
  AND (%(filter)s::jsonb IS NULL OR memory.matches(m.value, %(filter)s::jsonb))
ORDER BY scored.score DESC, m.seq DESC
LIMIT %(limit)s OFFSET %(offset)s
