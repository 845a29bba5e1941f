-- name: browse
-- Items of a scope without a query: newest change first, with a tie-breaker so that pages never
-- overlap.
SELECT namespace, key, value, created_at, updated_at, NULL::float8 AS score,
  expires_at < now() + ttl_minutes * interval '54 seconds' AS stale
FROM memory.memories
WHERE namespace >= %(low)s AND namespace < %(high)s
  AND (expires_at IS NULL OR expires_at > now())
  AND value @> %(contains)s::jsonb AND NOT value @> ANY (%(lacks)s::text[]::jsonb[])
  AND (%(filter)s::jsonpath IS NULL OR value @? %(filter)s::jsonpath)
ORDER BY updated_at DESC, position DESC, namespace, key
LIMIT %(limit)s OFFSET %(offset)s

-- name: nearest
-- Items of a scope by the best of their vectors. A scope that is not wide is read whole: its true
-- best, whatever the number of vectors elsewhere. A wide one is answered by the vector index, and
-- by reading the vectors that are not in it yet. The scope's condition is written so that no other
-- index serves that scan. Whether an item has expired is looked up for the best ones only, in their
-- order, until there are enough: what has expired elsewhere costs nothing. A zero vector has no direction and scores 0, where the operator alone
-- gives NaN, which sorts before every number. Where nothing is found, one row of nulls still tells
-- whether the scope is wide.
WITH scope AS MATERIALIZED (
  SELECT memory.probe({model}::smallint,
    coalesce(%(wide)s::boolean, memory.is_wide(%(low)s, %(high)s, {model}::smallint,
      %(looked_at)s::int))) AS wide
), found AS NOT MATERIALIZED (
  SELECT namespace, key, max(score) AS score FROM (
    (SELECT e.namespace, e.key, coalesce(nullif(1 - (e.embedding <=> %(query)s::halfvec), 'NaN'),
      0) AS score
     FROM memory.memory_embeddings AS e
     WHERE NOT (SELECT wide FROM scope) AND e.model = {model}
       AND e.namespace >= %(low)s AND e.namespace < %(high)s)
    UNION ALL
    (SELECT e.namespace, e.key, coalesce(nullif(1 - (e.embedding <=> %(query)s::halfvec), 'NaN'), 0)
     FROM memory.memory_embeddings AS e
     WHERE (SELECT wide FROM scope) AND e.model = {model} AND e.indexed
       AND e.namespace || '' >= %(low)s AND e.namespace || '' < %(high)s
       AND (SELECT m.expires_at IS NULL OR m.expires_at > now()
            FROM memory.memories AS m WHERE m.id = ANY (ARRAY[e.memory_id]))
     ORDER BY e.embedding::halfvec({dimensions}) <=> %(query)s::halfvec({dimensions})
     LIMIT %(looked_at)s::int)
    UNION ALL
    (SELECT e.namespace, e.key, coalesce(nullif(1 - (e.embedding <=> %(query)s::halfvec), 'NaN'), 0)
     FROM memory.memory_embeddings AS e
     WHERE (SELECT wide FROM scope) AND e.model = {model} AND NOT e.indexed
       AND e.namespace >= %(low)s AND e.namespace < %(high)s)
  ) AS near
  GROUP BY namespace, key
  ORDER BY score DESC, namespace, key
), best AS MATERIALIZED (
  SELECT m.*, found.score FROM found CROSS JOIN LATERAL (
    SELECT namespace, key, value, created_at, updated_at,
      expires_at < now() + ttl_minutes * interval '54 seconds' AS stale
    FROM memory.memories
    WHERE namespace = ANY (ARRAY[found.namespace]) AND key = ANY (ARRAY[found.key])
      AND (expires_at IS NULL OR expires_at > now()) OFFSET 0
  ) AS m
  ORDER BY found.score DESC, found.namespace, found.key
  LIMIT %(limit)s OFFSET %(offset)s
)
SELECT best.*, scope.wide FROM scope LEFT JOIN best ON true
ORDER BY best.score DESC, best.namespace, best.key

-- name: nearest_filtered
-- The same for the items of a scope that fit a filter. A candidate's item is looked up by its id,
-- the shortest way.
WITH scope AS MATERIALIZED (
  SELECT memory.probe({model}::smallint,
    coalesce(%(wide)s::boolean, memory.is_wide(%(low)s, %(high)s, {model}::smallint,
      %(looked_at)s::int))) AS wide
), best AS MATERIALIZED (
  SELECT namespace, key, max(score) AS score,
    row_number() OVER (ORDER BY max(score) DESC, namespace, key) AS n FROM (
    (SELECT m.namespace, m.key, (
       SELECT max(coalesce(nullif(1 - (e.embedding <=> %(query)s::halfvec), 'NaN'), 0))
       FROM memory.memory_embeddings AS e
       WHERE e.namespace = m.namespace AND e.key = m.key AND e.model = {model}) AS score
     FROM memory.memories AS m
     WHERE NOT (SELECT wide FROM scope)
       AND m.namespace >= %(low)s AND m.namespace < %(high)s
       AND (m.expires_at IS NULL OR m.expires_at > now())
       AND m.value @> %(contains)s::jsonb AND NOT m.value @> ANY (%(lacks)s::text[]::jsonb[])
       AND (%(filter)s::jsonpath IS NULL OR m.value @? %(filter)s::jsonpath))
    UNION ALL
    (SELECT e.namespace, e.key, coalesce(nullif(1 - (e.embedding <=> %(query)s::halfvec), 'NaN'), 0)
     FROM memory.memory_embeddings AS e
     WHERE (SELECT wide FROM scope) AND e.model = {model} AND e.indexed
       AND e.namespace || '' >= %(low)s AND e.namespace || '' < %(high)s
       AND (SELECT (m.expires_at IS NULL OR m.expires_at > now())
              AND m.value @> %(contains)s::jsonb AND NOT m.value @> ANY (%(lacks)s::text[]::jsonb[])
              AND (%(filter)s::jsonpath IS NULL OR m.value @? %(filter)s::jsonpath)
            FROM memory.memories AS m WHERE m.id = ANY (ARRAY[e.memory_id]))
     ORDER BY e.embedding::halfvec({dimensions}) <=> %(query)s::halfvec({dimensions})
     LIMIT %(looked_at)s::int)
    UNION ALL
    (SELECT e.namespace, e.key, coalesce(nullif(1 - (e.embedding <=> %(query)s::halfvec), 'NaN'), 0)
     FROM memory.memory_embeddings AS e JOIN memory.memories AS m ON m.id = ANY (ARRAY[e.memory_id])
     WHERE (SELECT wide FROM scope) AND e.model = {model} AND NOT e.indexed
       AND e.namespace >= %(low)s AND e.namespace < %(high)s
       AND (m.expires_at IS NULL OR m.expires_at > now())
       AND m.value @> %(contains)s::jsonb AND NOT m.value @> ANY (%(lacks)s::text[]::jsonb[])
       AND (%(filter)s::jsonpath IS NULL OR m.value @? %(filter)s::jsonpath))
  ) AS found
  WHERE score IS NOT NULL
  GROUP BY namespace, key
  ORDER BY n LIMIT %(limit)s::bigint + %(offset)s::bigint
)
SELECT m.namespace, m.key, m.value, m.created_at, m.updated_at, best.score, scope.wide,
  m.expires_at < now() + m.ttl_minutes * interval '54 seconds' AS stale
FROM scope LEFT JOIN (
  best JOIN memory.memories AS m ON m.namespace = ANY (ARRAY[best.namespace])
  AND m.key = ANY (ARRAY[best.key])
) ON best.n > %(offset)s
ORDER BY best.n
