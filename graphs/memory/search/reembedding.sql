-- name: register_model
-- A model beside the one in use, to have such an index as that one.
INSERT INTO memory.embedding_models (name, dimensions, m, ef_construction, lists)
SELECT %(name)s, %(dimensions)s, used.m, used.ef_construction, used.lists
FROM (SELECT) AS one LEFT JOIN memory.embedding_models AS used ON used.active
ON CONFLICT (name, dimensions) DO NOTHING

-- name: registered_model
SELECT id, name, dimensions, 'halfvec'::regtype::oid::bigint AS vector_type
FROM memory.embedding_models WHERE name = %(name)s AND dimensions = %(dimensions)s

-- name: index_of
-- What is to be known of a model's vector index to make it: whether it is there, how it is to be,
-- where pgvector is.
SELECT e.lists, n.nspname AS extension, coalesce(i.indisvalid, false) AS whole
FROM memory.embedding_models AS e
JOIN pg_extension AS x ON x.extname = 'vector' JOIN pg_namespace AS n ON n.oid = x.extnamespace
LEFT JOIN pg_index AS i ON i.indexrelid = to_regclass('memory.embeddings_vectors_' || e.id)
WHERE e.id = %(model)s

-- name: count_missing
-- How many vectors of other models have no counterpart in one.
SELECT count(DISTINCT (old.namespace, old.key, old.field)) AS missing
FROM memory.memory_embeddings AS old
WHERE old.model <> %(model)s AND NOT EXISTS (
  SELECT FROM memory.memory_embeddings AS new
  WHERE new.namespace = ANY (ARRAY[old.namespace]) AND new.key = ANY (ARRAY[old.key])
    AND new.field = ANY (ARRAY[old.field]) AND new.model = %(model)s)

-- name: missing
-- Items after an address, in its order, whose vectors lack a counterpart in a model, and which
-- fields those are of.
SELECT m.namespace, m.key, m.value, m.updated_at::text AS version, lacking.fields
FROM (
  SELECT old.namespace, old.key, array_agg(DISTINCT old.field) AS fields
  FROM memory.memory_embeddings AS old
  WHERE old.model <> %(model)s AND (old.namespace, old.key) > (%(namespace)s, %(key)s)
    AND NOT EXISTS (
    SELECT FROM memory.memory_embeddings AS new
    WHERE new.namespace = ANY (ARRAY[old.namespace]) AND new.key = ANY (ARRAY[old.key])
      AND new.field = ANY (ARRAY[old.field]) AND new.model = %(model)s)
  GROUP BY old.namespace, old.key ORDER BY old.namespace, old.key LIMIT %(limit)s
) AS lacking
JOIN memory.memories AS m ON m.namespace = ANY (ARRAY[lacking.namespace])
  AND m.key = ANY (ARRAY[lacking.key])
ORDER BY m.namespace, m.key

-- name: fill_in
-- Vectors of items that are still at the version that was embedded; the others are found missing
-- again. Who writes one of them meanwhile is waited for.
WITH given AS MATERIALIZED (
  SELECT * FROM unnest(%(namespaces)s::text[], %(keys)s::text[], %(versions)s::text[],
    %(fields)s::text[],
    %(embeddings)s::halfvec[]) AS v (namespace, key, version, field, embedding)
), held AS MATERIALIZED (
  SELECT m.namespace, m.key, m.id, m.updated_at
  FROM (SELECT DISTINCT namespace, key FROM given ORDER BY namespace, key) AS d
  CROSS JOIN LATERAL (
    SELECT * FROM memory.memories AS m
    WHERE m.namespace = ANY (ARRAY[d.namespace]) AND m.key = ANY (ARRAY[d.key]) FOR UPDATE
  ) AS m
)
INSERT INTO memory.memory_embeddings (namespace, key, field, model, memory_id, embedding)
SELECT h.namespace, h.key, v.field, %(model)s, h.id, v.embedding
FROM given AS v JOIN held AS h ON h.namespace = v.namespace AND h.key = v.key
  AND h.updated_at = v.version::timestamptz
ON CONFLICT DO NOTHING

-- name: lock_models
-- One switch at a time.
SELECT pg_advisory_xact_lock(hashtextextended('graph-native-memory embedding model', 0))

-- name: use_model
-- The one that searches use from now on.
UPDATE memory.embedding_models SET active = true WHERE id = %(model)s

-- name: unindexed
-- Items after a number that came past the store, and the fields that they have vectors of.
SELECT m.id, m.namespace, m.key, m.value, m.updated_at::text AS version,
  ARRAY(SELECT DISTINCT e.field FROM memory.memory_embeddings AS e
    WHERE e.namespace = m.namespace AND e.key = m.key) AS fields
FROM memory.memories AS m WHERE m.document = '' AND m.id > %(after)s::bigint
ORDER BY m.id LIMIT %(limit)s

-- name: index_items
-- Words and vectors of items that are still at the version that was embedded; the others were
-- written anew. All their other vectors go. Who writes one of them meanwhile is waited for.
WITH given AS MATERIALIZED (
  SELECT * FROM unnest(%(ids)s::bigint[], %(versions)s::text[], %(labels)s::text[],
    %(texts)s::text[]) AS g (id, version, label, text)
), vectors AS MATERIALIZED (
  SELECT * FROM unnest(%(vector_ids)s::bigint[], %(fields)s::text[], %(embeddings)s::halfvec[])
    AS v (id, field, embedding)
), held AS MATERIALIZED (
  SELECT m.id, m.namespace, m.key FROM memory.memories AS m
  WHERE m.id = ANY (%(ids)s::bigint[]) AND m.document = ''
  ORDER BY m.namespace, m.key FOR UPDATE
), indexed AS (
  UPDATE memory.memories AS m SET document =
    array_to_tsvector(ARRAY['@' || split_part(h.namespace, '.', 1) || '.'
      || split_part(h.namespace, '.', 2)]) ||
      setweight(to_tsvector(%(configuration)s::regconfig, g.label), 'A')
      || to_tsvector(%(configuration)s::regconfig, g.text)
  FROM held AS h JOIN given AS g ON g.id = h.id
  WHERE m.id = ANY (ARRAY[h.id]) AND m.updated_at = g.version::timestamptz
  RETURNING m.id, m.namespace, m.key
), forgotten AS (
  DELETE FROM memory.memory_embeddings AS e USING indexed AS i
  WHERE e.namespace = ANY (ARRAY[i.namespace]) AND e.key = ANY (ARRAY[i.key])
    AND (e.model = %(model)s AND (i.id, e.field) IN (SELECT id, field FROM vectors)) IS NOT TRUE
), embedded AS (
  INSERT INTO memory.memory_embeddings AS e (namespace, key, field, model, memory_id, embedding)
  SELECT i.namespace, i.key, v.field, %(model)s, i.id, v.embedding
  FROM vectors AS v JOIN indexed AS i ON i.id = v.id
  ON CONFLICT (namespace, key, model, field) DO UPDATE
    SET embedding = EXCLUDED.embedding, indexed = false
  WHERE e.embedding <> EXCLUDED.embedding
)
SELECT count(*) AS indexed FROM indexed
