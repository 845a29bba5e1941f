-- An address is looked up with = ANY (ARRAY[…]), which only an index can serve: a plan that was
-- made while a table was small, and joined by reading all of it, would go on doing so when it is
-- large.

-- name: get
-- Several items by address. An item is stale once a tenth of its TTL has passed since it was
-- refreshed.
SELECT w.n, m.value, m.created_at, m.updated_at,
  m.expires_at < now() + m.ttl_minutes * interval '54 seconds' AS stale
FROM unnest(%(namespaces)s::text[], %(keys)s::text[]) WITH ORDINALITY AS w (namespace, key, n)
JOIN memory.memories AS m ON m.namespace = ANY (ARRAY[w.namespace]) AND m.key = ANY (ARRAY[w.key])
WHERE m.expires_at IS NULL OR m.expires_at > now()

-- name: refresh_ttl
-- Reading an item prolongs its life, and never ends it sooner. A reader never waits for a lock: who holds it is refreshing or
-- writing the item.
WITH stale AS (
  SELECT m.namespace, m.key
  FROM unnest(%(namespaces)s::text[], %(keys)s::text[]) AS found (namespace, key)
  JOIN memory.memories AS m ON m.namespace = ANY (ARRAY[found.namespace])
    AND m.key = ANY (ARRAY[found.key])
  WHERE m.expires_at > now()
  FOR UPDATE OF m SKIP LOCKED
)
UPDATE memory.memories AS m
SET expires_at = greatest(m.expires_at, now() + m.ttl_minutes * interval '1 minute')
FROM stale AS s WHERE m.namespace = ANY (ARRAY[s.namespace]) AND m.key = ANY (ARRAY[s.key])

-- name: put
-- Insert or replace items. They take their place in the namespace in the order given, and are
-- locked in the order of their keys, so that batches that cross do not wait for one another. Times
-- and provenance are stamped by the database. A document has a word for whose it is, which
-- `find_words` looks for.
WITH given AS MATERIALIZED (
  SELECT * FROM unnest(%(namespaces)s::text[], %(keys)s::text[], %(values)s::text[],
    %(labels)s::text[],
    %(texts)s::text[], %(ttls)s::float8[]) WITH ORDINALITY AS g (namespace, key, value, label, text,
    ttl_minutes, n)
), last AS (
  SELECT namespace, coalesce((
    SELECT m.position FROM memory.memories AS m WHERE m.namespace COLLATE "POSIX" = d.namespace
    ORDER BY m.position DESC LIMIT 1), 0
  ) AS position
  FROM (SELECT DISTINCT namespace FROM given) AS d
)
INSERT INTO memory.memories AS m (namespace, key, value, document, position, ttl_minutes,
  expires_at)
SELECT g.namespace, g.key, g.value::jsonb,
  array_to_tsvector(ARRAY['@' || split_part(g.namespace, '.', 1) || '.'
    || split_part(g.namespace, '.', 2)]) ||
    setweight(to_tsvector(%(configuration)s::regconfig, g.label), 'A')
    || to_tsvector(%(configuration)s::regconfig, g.text),
  least(last.position, 1e15::bigint) + row_number() OVER (PARTITION BY g.namespace ORDER BY g.n),
  g.ttl_minutes, now() + g.ttl_minutes * interval '1 minute'
FROM given AS g JOIN last ON last.namespace = g.namespace
ORDER BY g.namespace COLLATE "C", g.key COLLATE "C"
ON CONFLICT (namespace, key) DO UPDATE SET
  value = EXCLUDED.value,
  document = EXCLUDED.document,
  ttl_minutes = EXCLUDED.ttl_minutes,
  expires_at = EXCLUDED.expires_at

-- name: put_vectors
-- The vectors of items that were just stored. Every other vector of theirs goes, whatever its
-- model: removed fields and list elements must not be found again. One that is the same stays in
-- the index. A statement of its own, since it has to see what another writer stored for whom `put`
-- had to wait.
WITH vectors AS MATERIALIZED (
  SELECT * FROM unnest(%(vector_namespaces)s::text[], %(vector_keys)s::text[], %(fields)s::text[],
    %(embeddings)s::halfvec[]) AS v (namespace, key, field, embedding)
), forgotten AS (
  DELETE FROM memory.memory_embeddings AS e
  USING unnest(%(namespaces)s::text[], %(keys)s::text[]) AS s (namespace, key)
  WHERE e.namespace = ANY (ARRAY[s.namespace]) AND e.key = ANY (ARRAY[s.key])
    AND (e.model = %(model)s AND (e.namespace, e.key, e.field)
      IN (SELECT namespace, key, field FROM vectors)) IS NOT TRUE
)
INSERT INTO memory.memory_embeddings AS e (namespace, key, field, model, memory_id, embedding)
SELECT v.namespace, v.key, v.field, %(model)s, m.id, v.embedding
FROM vectors AS v
JOIN memory.memories AS m ON m.namespace = ANY (ARRAY[v.namespace]) AND m.key = ANY (ARRAY[v.key])
ORDER BY v.namespace COLLATE "C", v.key COLLATE "C"
ON CONFLICT (namespace, key, model, field) DO UPDATE
  SET embedding = EXCLUDED.embedding, indexed = false
WHERE e.embedding <> EXCLUDED.embedding

-- name: wait_for_vectors
-- What was stored while the model was unavailable: the mark of what came past the store.
UPDATE memory.memories AS m SET document = ''
FROM (SELECT DISTINCT namespace, key
  FROM unnest(%(namespaces)s::text[], %(keys)s::text[]) AS g (namespace, key)) AS given
WHERE m.namespace = ANY (ARRAY[given.namespace]) AND m.key = ANY (ARRAY[given.key])

-- name: put_item
-- The same as `put` for one item, which as a statement without lists costs the server less.
INSERT INTO memory.memories AS m (namespace, key, value, document, position, ttl_minutes,
  expires_at)
VALUES (%(namespace)s, %(key)s, %(value)s::jsonb,
  array_to_tsvector(ARRAY['@' || split_part(%(namespace)s, '.', 1) || '.'
    || split_part(%(namespace)s, '.', 2)]) ||
    setweight(to_tsvector(%(configuration)s::regconfig, %(label)s), 'A')
    || to_tsvector(%(configuration)s::regconfig, %(text)s),
  least(coalesce((
    SELECT p.position FROM memory.memories AS p WHERE p.namespace COLLATE "POSIX" = %(namespace)s
    ORDER BY p.position DESC LIMIT 1), 0), 1e15::bigint) + 1,
  %(ttl)s::float8, now() + %(ttl)s::float8 * interval '1 minute')
ON CONFLICT (namespace, key) DO UPDATE SET
  value = EXCLUDED.value,
  document = EXCLUDED.document,
  ttl_minutes = EXCLUDED.ttl_minutes,
  expires_at = EXCLUDED.expires_at

-- name: put_item_vectors
-- The same as `put_vectors` for one item.
WITH forgotten AS (
  DELETE FROM memory.memory_embeddings
  WHERE namespace = %(namespace)s AND key = %(key)s
    AND (model = %(model)s AND field = ANY (%(fields)s::text[])) IS NOT TRUE
)
INSERT INTO memory.memory_embeddings AS e (namespace, key, field, model, memory_id, embedding)
SELECT %(namespace)s, %(key)s, v.field, %(model)s, (
    SELECT m.id FROM memory.memories AS m WHERE m.namespace = %(namespace)s AND m.key = %(key)s),
      v.embedding
FROM unnest(%(fields)s::text[], %(embeddings)s::halfvec[]) AS v (field, embedding)
ON CONFLICT (namespace, key, model, field) DO UPDATE
  SET embedding = EXCLUDED.embedding, indexed = false
WHERE e.embedding <> EXCLUDED.embedding

-- name: expect
-- Refuses the transaction unless each item is at its version; it stays there until the transaction
-- is over.
SELECT memory.expect_versions(%(namespaces)s::text[], %(keys)s::text[],
  %(versions)s::text[]::timestamptz[])

-- name: expect_created
-- Refuses the transaction if an item that was not to be there came from somebody else in the last
-- moment.
SELECT memory.expect_created(%(namespaces)s::text[], %(keys)s::text[])

-- name: lock
-- The items that a batch will delete and replace, in the order of their keys: two statements that
-- lock would cross.
SELECT FROM (
  SELECT * FROM unnest(%(namespaces)s::text[], %(keys)s::text[]) AS g (namespace, key)
  ORDER BY namespace COLLATE "C", key COLLATE "C"
) AS given CROSS JOIN LATERAL (
  SELECT FROM memory.memories AS m
  WHERE m.namespace = ANY (ARRAY[given.namespace]) AND m.key = ANY (ARRAY[given.key]) FOR UPDATE
) AS locked

-- name: delete
-- Locked in the order of their keys, as puts are.
WITH locked AS (
  SELECT found.namespace, found.key FROM (
    SELECT * FROM unnest(%(namespaces)s::text[], %(keys)s::text[]) AS g (namespace, key)
    ORDER BY namespace COLLATE "C", key COLLATE "C"
  ) AS given CROSS JOIN LATERAL (
    SELECT m.namespace, m.key FROM memory.memories AS m
    WHERE m.namespace = ANY (ARRAY[given.namespace]) AND m.key = ANY (ARRAY[given.key]) FOR UPDATE
  ) AS found
)
DELETE FROM memory.memories AS m USING locked
WHERE m.namespace = ANY (ARRAY[locked.namespace]) AND m.key = ANY (ARRAY[locked.key])

-- name: list_namespaces
-- Namespaces in a range, cut to a depth. From one it goes straight to the next that differs,
-- whatever lies between.
WITH RECURSIVE found (path, next) AS (
  SELECT NULL::text[] COLLATE "C", %(low)s::text COLLATE "C"
  UNION ALL
  SELECT labels[1:%(max_depth)s::int], CASE WHEN cardinality(labels) >= %(max_depth)s::int
    THEN array_to_string(labels[1:%(max_depth)s::int], '.') || '/' ELSE namespace || chr(1) END
  FROM (
    SELECT namespace, string_to_array(rtrim(namespace, '.'), '.') AS labels
    FROM found CROSS JOIN LATERAL (
      SELECT m.namespace FROM memory.memories AS m
      WHERE m.namespace >= found.next AND m.namespace < %(high)s
        AND (m.expires_at IS NULL OR m.expires_at > now())
      ORDER BY m.namespace LIMIT 1
    ) AS following
  ) AS labelled
)
SELECT path FROM found WHERE path IS NOT NULL LIMIT %(limit)s OFFSET %(offset)s

-- name: match_namespaces
-- Namespaces in a range that fit every condition, cut to a depth.
WITH RECURSIVE present (namespace, next) AS (
  SELECT NULL::text COLLATE "C", %(low)s::text COLLATE "C"
  UNION ALL
  SELECT following.namespace, following.namespace || chr(1) FROM present CROSS JOIN LATERAL (
    SELECT m.namespace FROM memory.memories AS m
    WHERE m.namespace >= present.next AND m.namespace < %(high)s
      AND (m.expires_at IS NULL OR m.expires_at > now())
    ORDER BY m.namespace LIMIT 1
  ) AS following
)
SELECT path[1:%(max_depth)s::int] AS path FROM (
  SELECT namespace, string_to_array(rtrim(namespace, '.'), '.') AS path FROM present
  WHERE namespace IS NOT NULL
) AS paths
WHERE NOT EXISTS (
  SELECT FROM jsonb_to_recordset(%(conditions)s::jsonb) AS c (match_type text, path text[])
  WHERE NOT memory.path_matches(paths.path, c.path, c.match_type)
)
GROUP BY 1 ORDER BY min(namespace)
LIMIT %(limit)s OFFSET %(offset)s

-- name: sweep
-- Expired items, in bounded portions, without waiting for those that someone else is writing; how
-- many went.
WITH expired AS (
  SELECT namespace, key FROM memory.memories
  WHERE expires_at <= now() ORDER BY expires_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), swept AS (
  DELETE FROM memory.memories AS m USING expired AS e
  WHERE m.namespace = ANY (ARRAY[e.namespace]) AND m.key = ANY (ARRAY[e.key]) RETURNING 1
)
SELECT count(*) AS swept FROM swept

-- name: ping
SELECT EXISTS (SELECT FROM memory.memories LIMIT 1)
