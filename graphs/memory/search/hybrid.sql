-- name: survey
-- What a large scope is like: how many items it has to be searched in (counted no further than
-- asked for), and, of its last ones, how alike those are that follow one another, and how alike any
-- two. Unit vectors whose mean has length r have a mean cosine of (n r² - 1) / (n - 1).
WITH latest AS MATERIALIZED (
  SELECT m.namespace, m.position, e.embedding
  FROM (
    SELECT namespace, key, position FROM memory.memories
    WHERE namespace COLLATE "POSIX" >= %(low)s AND namespace COLLATE "POSIX" < %(high)s
    ORDER BY namespace COLLATE "POSIX" DESC, position DESC LIMIT 100
  ) AS m
  CROSS JOIN LATERAL (
    SELECT embedding FROM memory.memory_embeddings
    WHERE namespace = m.namespace AND key = m.key AND model = {model} OFFSET 0
  ) AS e
), neighbours AS (
  SELECT 1 - (embedding <=> lag(embedding) OVER (PARTITION BY namespace
    ORDER BY position)) AS cosine FROM latest
)
SELECT neighbour.*,
  (SELECT count(*) FROM (
    SELECT FROM memory.memories WHERE namespace >= %(low)s AND namespace < %(high)s LIMIT %(most)s
  ) AS counted) AS items,
  (SELECT (n * r * r - 1) / (n - 1) FROM (SELECT count(*) AS n,
    l2_norm(sum(embedding)) / count(*) AS r FROM latest) AS all_of_them
   WHERE n > 1) AS any_two
FROM (
  SELECT avg(cosine) AS neighbours, stddev_pop(cosine) AS deviation, count(*) AS pairs
  FROM neighbours WHERE cosine <> 'NaN'
) AS neighbour

-- name: signals
-- The signals of every item of a scope that fits a filter, as arrays in binary form: one for each
-- signal, and pairs for vectors and for words, which are put together by id outside. A hit's word
-- is its number twice, and one more if it is in the label. Of a scope with more items than asked
-- for only that is said: its count is one more. Unless the scope is known, it is surveyed as
-- `survey` does it, from the same rows. Of a query with more words than a number has bits the rarest
-- count that any item has; only then are they counted. Joins are full ones and IN is made IS TRUE
-- because these are never done by comparing every pair.
WITH asked AS MATERIALIZED (
  SELECT lexeme FROM unnest(to_tsvector(%(configuration)s::regconfig, %(query)s))
), scope AS MATERIALIZED (
  SELECT m.id, m.namespace, m.position, m.document, m.updated_at, m.importance,
    m.value @> %(contains)s::jsonb AND NOT m.value @> ANY (%(lacks)s::text[]::jsonb[])
      AND (%(filter)s::jsonpath IS NULL OR m.value @? %(filter)s::jsonpath) AS fits
  FROM memory.memories AS m
  WHERE m.namespace >= %(low)s AND m.namespace < %(high)s AND m.document IS NOT NULL
    AND (m.expires_at IS NULL OR m.expires_at > now())
  LIMIT %(whole)s::bigint + 1
), size AS MATERIALIZED (
  SELECT count(*) AS items, count(*) <= %(whole)s::bigint AS small FROM scope
), items AS NOT MATERIALIZED (
  SELECT * FROM scope WHERE fits AND (SELECT small FROM size)
), counted AS MATERIALIZED (
  SELECT l.lexeme, count(*) AS frequency
  FROM items CROSS JOIN LATERAL unnest(tsvector_to_array(document)) AS l (lexeme)
  WHERE (SELECT count(*) > 63 FROM asked) AND (l.lexeme IN (SELECT lexeme FROM asked)) IS TRUE
  GROUP BY l.lexeme
), words AS MATERIALIZED (
  SELECT (row_number() OVER (ORDER BY frequency, lexeme) - 1)::bigint AS n, lexeme,
    ('''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''')::tsquery AS word,
    ('''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || ''':A')::tsquery AS label
  FROM asked FULL JOIN counted USING (lexeme) ORDER BY frequency, lexeme LIMIT 63
), vectors AS MATERIALIZED (
  SELECT memory_id, embedding FROM memory.memory_embeddings
  WHERE namespace >= %(low)s AND namespace < %(high)s AND model = {model}
    AND (SELECT small FROM size)
  LIMIT 50 * %(whole)s::bigint
), paired AS MATERIALIZED (
  SELECT m.namespace, m.position, v.embedding
  FROM (SELECT id, namespace, position FROM scope ORDER BY namespace DESC, position DESC
    LIMIT 100) AS m
  FULL JOIN vectors AS v ON v.memory_id = m.id
), latest AS MATERIALIZED (
  SELECT * FROM paired WHERE position IS NOT NULL AND embedding IS NOT NULL
    AND NOT %(known)s::boolean AND (SELECT small FROM size)
), neighbours AS (
  SELECT 1 - (embedding <=> lag(embedding) OVER (PARTITION BY namespace
    ORDER BY position)) AS cosine FROM latest
)
SELECT size.*, item.*, vector.*, hit.*, neighbour.*,
  (SELECT array_agg(lexeme ORDER BY n) FROM words) AS words,
  (SELECT (n * r * r - 1) / (n - 1) FROM (SELECT count(*) AS n,
    l2_norm(sum(embedding)) / count(*) AS r FROM latest) AS all_of_them
   WHERE n > 1) AS any_two
FROM size CROSS JOIN (
  SELECT array_send(array_agg(id)) AS ids, array_send(array_agg(hashtextextended(namespace,
    0))) AS namespaces,
    array_send(array_agg(position)) AS positions,
    array_send(array_agg(greatest(length(document) - 1, 0)::real)) AS lengths,
    array_send(array_agg(date_part('epoch', now() - updated_at)::real)) AS ages,
    CASE WHEN count(importance) > 0 THEN array_send(array_agg(coalesce(importance,
      'NaN'))) END AS importances
  FROM items
) AS item CROSS JOIN (
  SELECT array_send(array_agg(memory_id)) AS vector_ids,
    array_send(array_agg((1 - (embedding <=> %(vector)s::halfvec))::real)) AS similarities
  FROM vectors
) AS vector CROSS JOIN (
  SELECT array_send(array_agg(i.id)) AS hit_ids,
    array_send(array_agg(2 * w.n + (i.document @@ w.label)::int)) AS hit_words
  FROM words AS w JOIN items AS i ON i.document @@ w.word
) AS hit CROSS JOIN (
  SELECT avg(cosine) AS neighbours, stddev_pop(cosine) AS deviation, count(*) AS pairs
  FROM neighbours WHERE cosine <> 'NaN'
) AS neighbour

-- name: candidate_signals
-- The same for a large scope, of the items that may matter: the nearest by vector, and those that
-- have one of the rarer words. How many items have a word is counted where it is rare, and -1 where
-- it is frequent; of many words the rarest count. Whether the scope is wide is found out unless it is told. An item's scope is
-- looked at after it was found by its id, and never instead; OFFSET 0 keeps the look-up of a vector
-- from becoming a join of another kind.
WITH asked AS MATERIALIZED (
  SELECT row_number() OVER () AS n, lexeme,
    ('''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''')::tsquery AS word
  FROM unnest(to_tsvector(%(configuration)s::regconfig, %(query)s))
), scope AS MATERIALIZED (
  SELECT memory.probe({model}::smallint,
    coalesce(%(wide)s::boolean, memory.is_wide(%(low)s, %(high)s, {model}::smallint,
      %(most)s::int))) AS wide
), near AS MATERIALIZED (
  SELECT memory_id AS id, distance FROM (
    (SELECT e.memory_id, e.embedding <=> %(vector)s::halfvec AS distance
      FROM memory.memory_embeddings AS e
     WHERE NOT (SELECT wide FROM scope) AND e.model = {model} AND e.namespace >= %(low)s
       AND e.namespace < %(high)s
       AND (NOT %(filtered)s::boolean OR (
         SELECT m.value @> %(contains)s::jsonb AND NOT m.value @> ANY (%(lacks)s::text[]::jsonb[])
           AND (%(filter)s::jsonpath IS NULL OR m.value @? %(filter)s::jsonpath)
         FROM memory.memories AS m WHERE m.namespace = e.namespace AND m.key = e.key)))
    UNION ALL
    (SELECT e.memory_id, e.embedding <=> %(vector)s::halfvec FROM memory.memory_embeddings AS e
     WHERE (SELECT wide FROM scope) AND e.model = {model} AND e.indexed
       AND e.namespace || '' >= %(low)s AND e.namespace || '' < %(high)s
       AND (NOT %(filtered)s::boolean OR (
         SELECT m.value @> %(contains)s::jsonb AND NOT m.value @> ANY (%(lacks)s::text[]::jsonb[])
           AND (%(filter)s::jsonpath IS NULL OR m.value @? %(filter)s::jsonpath)
         FROM memory.memories AS m WHERE m.namespace = e.namespace AND m.key = e.key))
     ORDER BY e.embedding::halfvec({dimensions}) <=> %(vector)s::halfvec({dimensions})
       LIMIT %(most)s::int)
    UNION ALL
    (SELECT e.memory_id, e.embedding <=> %(vector)s::halfvec FROM memory.memory_embeddings AS e
     WHERE (SELECT wide FROM scope) AND e.model = {model} AND NOT e.indexed
       AND e.namespace >= %(low)s AND e.namespace < %(high)s
       AND (NOT %(filtered)s::boolean OR (
         SELECT m.value @> %(contains)s::jsonb AND NOT m.value @> ANY (%(lacks)s::text[]::jsonb[])
           AND (%(filter)s::jsonpath IS NULL OR m.value @? %(filter)s::jsonpath)
         FROM memory.memories AS m WHERE m.namespace = e.namespace AND m.key = e.key)))
  ) AS found
  WHERE distance <> 'NaN' ORDER BY distance LIMIT %(most)s::int
), found AS MATERIALIZED (
  SELECT * FROM memory.find_words((SELECT array_agg(word ORDER BY n) FROM asked), %(low)s, %(high)s,
    %(rare)s::int)
), words AS MATERIALIZED (
  SELECT (row_number() OVER (ORDER BY frequency = 0, frequency < 0, frequency, lexeme)
      - 1)::bigint AS n,
    lexeme, word, (word::text || ':A')::tsquery AS label, frequency, ids
  FROM asked FULL JOIN found USING (n)
  ORDER BY frequency = 0, frequency < 0, frequency, lexeme LIMIT 63
), items AS MATERIALIZED (
  SELECT m.id, m.namespace, m.key, m.position, m.document, m.updated_at, m.importance
  FROM (SELECT id FROM near UNION SELECT unnest(ids) FROM words) AS c JOIN memory.memories AS m
    ON m.id = ANY (ARRAY[c.id])
  WHERE m.namespace ~>=~ %(low)s AND m.namespace ~<~ %(high)s AND m.document IS NOT NULL
    AND (m.expires_at IS NULL OR m.expires_at > now())
    AND m.value @> %(contains)s::jsonb AND NOT m.value @> ANY (%(lacks)s::text[]::jsonb[])
    AND (%(filter)s::jsonpath IS NULL OR m.value @? %(filter)s::jsonpath)
)
SELECT item.*, vector.*, hit.*, place.*, (SELECT wide FROM scope) AS wide,
  (SELECT array_agg(lexeme ORDER BY n) FROM words) AS words,
  coalesce((SELECT array_send(array_agg(frequency ORDER BY n)) FROM words), '') AS frequencies
FROM (
  SELECT array_send(array_agg(id)) AS ids, array_send(array_agg(hashtextextended(namespace,
    0))) AS namespaces,
    array_send(array_agg(position)) AS positions,
    array_send(array_agg(greatest(length(document) - 1, 0)::real)) AS lengths,
    array_send(array_agg(date_part('epoch', now() - updated_at)::real)) AS ages,
    CASE WHEN count(importance) > 0 THEN array_send(array_agg(coalesce(importance,
      'NaN'))) END AS importances
  FROM items
) AS item CROSS JOIN (
  SELECT array_send(array_agg(id)) AS vector_ids,
    array_send(array_agg((1 - distance)::real)) AS similarities FROM (
    SELECT id, distance FROM near
    UNION ALL
    SELECT i.id, e.embedding <=> %(vector)s::halfvec
    FROM items AS i CROSS JOIN LATERAL (
      SELECT embedding FROM memory.memory_embeddings
      WHERE namespace = i.namespace AND key = i.key AND model = {model} OFFSET 0
    ) AS e
    WHERE i.id NOT IN (SELECT id FROM near)
  ) AS known
) AS vector CROSS JOIN (
  SELECT array_send(array_agg(i.id)) AS hit_ids,
    array_send(array_agg(2 * w.n + (i.document @@ w.label)::int)) AS hit_words
  FROM words AS w JOIN items AS i ON i.document @@ w.word
) AS hit CROSS JOIN (
  SELECT array_agg(hashtextextended(namespace, 0)) AS places, array_agg(namespace) AS place_names
  FROM (SELECT DISTINCT namespace FROM items) AS present
) AS place

-- name: fetch
-- Items of a scope by id, and those at some places of its namespaces that fit the filter, too. The
-- scope's condition is written so that only the ids are looked up, however few items the planner
-- thinks that the scope has.
SELECT id, position, namespace, key, value, created_at, updated_at,
  expires_at < now() + ttl_minutes * interval '54 seconds' AS stale
FROM memory.memories
WHERE id = ANY (%(ids)s::bigint[]) AND namespace ~>=~ %(low)s AND namespace ~<~ %(high)s
  AND (expires_at IS NULL OR expires_at > now())
UNION ALL
SELECT m.id, m.position, m.namespace, m.key, m.value, m.created_at, m.updated_at,
  m.expires_at < now() + m.ttl_minutes * interval '54 seconds'
FROM unnest(%(namespaces)s::text[], %(positions)s::bigint[]) AS p (namespace, position)
JOIN memory.memories AS m ON m.namespace COLLATE "POSIX" = ANY (ARRAY[p.namespace])
  AND m.position = ANY (ARRAY[p.position])
WHERE m.document IS NOT NULL AND (m.expires_at IS NULL OR m.expires_at > now())
  AND m.value @> %(contains)s::jsonb AND NOT m.value @> ANY (%(lacks)s::text[]::jsonb[])
  AND (%(filter)s::jsonpath IS NULL OR m.value @? %(filter)s::jsonpath)

-- name: others
-- What no signal speaks for, the newest first: the last pages of a search in a large scope.
SELECT id, position, namespace, key, value, created_at, updated_at,
  expires_at < now() + ttl_minutes * interval '54 seconds' AS stale
FROM memory.memories
WHERE namespace >= %(low)s AND namespace < %(high)s AND id <> ALL (%(ids)s::bigint[])
  AND document IS NOT NULL AND (expires_at IS NULL OR expires_at > now())
  AND value @> %(contains)s::jsonb AND NOT value @> ANY (%(lacks)s::text[]::jsonb[])
  AND (%(filter)s::jsonpath IS NULL OR value @? %(filter)s::jsonpath)
ORDER BY updated_at DESC, position DESC, namespace, key
LIMIT %(limit)s OFFSET %(offset)s
