-- What mem0 keeps of its own on pgvector: one table for a collection, which is only read.

-- name: describe
-- The dimensions of a collection's vectors; no row where there is no such table, or none of mem0's.
SELECT v.atttypmod AS dimensions FROM pg_catalog.pg_attribute AS v
JOIN pg_catalog.pg_attribute AS p ON p.attrelid = v.attrelid AND p.attname = 'payload' AND p.atttypid = 'jsonb'::regtype
WHERE v.attrelid = to_regclass(%(collection)s) AND v.attname = 'vector' AND NOT v.attisdropped

-- name: whose
-- The server, without its secrets: which database it is.
SELECT current_database() AS database, (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())::text AS number

-- name: count
SELECT count(*) AS memories FROM {collection}

-- name: page
-- The memories after one, in the order of their ids.
SELECT id::text AS id, payload, CASE WHEN %(vectors)s THEN vector::text END AS vector FROM {collection}
WHERE id > %(after)s::uuid ORDER BY id LIMIT %(limit)s

-- name: nearest
-- What mem0 finds for an owner: nothing but the distance of vectors.
SELECT id::text AS id FROM {collection}
WHERE payload ->> %(kind)s = %(owner)s ORDER BY vector <=> %(query)s::vector LIMIT %(limit)s

-- name: history
-- What happened to some memories: of the file of SQLite that mem0 keeps beside the collection.
SELECT memory_id, event, old_memory, coalesce(updated_at, created_at) AS at FROM history
WHERE memory_id IN (SELECT value FROM json_each(:memories))
