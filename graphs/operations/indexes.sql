-- name: status
-- The indexes of the memory, largest first. An index that is being built is not valid yet.
SELECT c.relname AS name, t.relname AS on_table, a.amname AS method,
  pg_relation_size(c.oid) AS bytes,
  i.indisvalid AND i.indisready AS valid,
  EXISTS (SELECT FROM pg_stat_progress_create_index AS p WHERE p.index_relid = c.oid) AS building,
  coalesce(s.idx_scan, 0) AS scans,
  (SELECT o.option_value::int FROM pg_options_to_table(c.reloptions) AS o
    WHERE o.option_name = 'm') AS m,
  (SELECT o.option_value::int FROM pg_options_to_table(c.reloptions) AS o
    WHERE o.option_name = 'ef_construction') AS ef_construction,
  (SELECT o.option_value::int FROM pg_options_to_table(c.reloptions) AS o
    WHERE o.option_name = 'lists') AS lists
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_class AS t ON t.oid = i.indrelid
JOIN pg_am AS a ON a.oid = c.relam LEFT JOIN pg_stat_all_indexes AS s ON s.indexrelid = c.oid
WHERE c.relnamespace = 'memory'::regnamespace ORDER BY 4 DESC, 1

-- name: vectors
-- The number of vectors of each embedding model, and how many are not yet in the vector index.
SELECT m.name AS model, m.dimensions, m.active, 'embeddings_vectors_' || m.id AS index,
  (SELECT count(*) FROM memory.memory_embeddings AS e WHERE e.model = m.id) AS vectors,
  (SELECT count(*) FROM memory.memory_embeddings AS e
    WHERE e.model = m.id AND NOT e.indexed) AS pending
FROM memory.embedding_models AS m ORDER BY m.id

-- name: being_made
SELECT p.index_relid::regclass::text AS name FROM pg_stat_progress_create_index AS p
WHERE p.index_relid <> 0
