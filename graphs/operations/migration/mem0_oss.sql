-- mem0's own tables on pgvector: one table for each collection. Migrations only read them.

-- name: describe
-- The dimensions of a collection's vectors; no row if the table is missing or not mem0's.
SELECT v.atttypmod AS dimensions FROM pg_catalog.pg_attribute AS v
JOIN pg_catalog.pg_attribute AS p ON p.attrelid = v.attrelid AND p.attname = 'payload'
  AND p.atttypid = 'jsonb'::regtype
WHERE v.attrelid = to_regclass(%(collection)s) AND v.attname = 'vector' AND NOT v.attisdropped

-- name: whose
-- An identifier of the database, without secrets.
SELECT current_database() AS database, (SELECT oid FROM pg_catalog.pg_database
  WHERE datname = current_database())::text AS number

-- name: count
SELECT count(*) AS memories FROM {collection}

-- name: page
-- The page of memories after an id.
SELECT id::text AS id, payload, CASE WHEN %(vectors)s THEN vector::text END AS vector
FROM {collection}
WHERE id > %(after)s::uuid ORDER BY id LIMIT %(limit)s

-- name: nearest
-- The nearest memories of an owner. Like mem0, it ranks by vector distance alone.
SELECT id::text AS id FROM {collection}
WHERE payload ->> %(kind)s = %(owner)s ORDER BY vector <=> %(query)s::vector LIMIT %(limit)s

-- name: history
-- The changes of some memories, from the SQLite file that mem0 keeps beside the collection.
SELECT memory_id, event, old_memory, coalesce(updated_at, created_at) AS at FROM history
WHERE memory_id IN (SELECT value FROM json_each(:memories))
