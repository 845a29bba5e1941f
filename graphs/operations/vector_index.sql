-- name: in_use
-- The active model: number of vectors, stored choice of its index, and the schema of pgvector.
SELECT e.id, e.name, e.dimensions, e.m, e.ef_construction, e.lists, n.nspname AS extension,
  counted.*
FROM memory.embedding_models AS e
JOIN pg_extension AS x ON x.extname = 'vector' JOIN pg_namespace AS n ON n.oid = x.extnamespace
CROSS JOIN LATERAL (
  SELECT count(*) AS vectors, count(*) FILTER (WHERE NOT v.indexed) AS waiting
  FROM memory.memory_embeddings AS v WHERE v.model = e.id
) AS counted
WHERE e.active

-- name: built
-- The existing ones of some indexes. `builder` is the process that is building an index.
SELECT c.relname AS name, a.amname AS method, i.indisvalid AND i.indisready AS valid,
  (SELECT p.pid FROM pg_stat_progress_create_index AS p WHERE p.index_relid = c.oid) AS builder,
  (SELECT o.option_value::int FROM pg_options_to_table(c.reloptions) AS o
    WHERE o.option_name = 'm') AS m,
  (SELECT o.option_value::int FROM pg_options_to_table(c.reloptions) AS o
    WHERE o.option_name = 'ef_construction') AS ef_construction,
  (SELECT o.option_value::int FROM pg_options_to_table(c.reloptions) AS o
    WHERE o.option_name = 'lists') AS lists
FROM pg_class AS c JOIN pg_index AS i ON i.indexrelid = c.oid JOIN pg_am AS a ON a.oid = c.relam
WHERE c.relnamespace = 'memory'::regnamespace AND c.relname = ANY (%(names)s::text[])

-- name: progress
-- Progress of an index build. Each phase counts its own unit: tuples, pages or transactions.
SELECT p.phase, p.tuples_done, p.tuples_total, p.blocks_done, p.blocks_total, p.lockers_done,
  p.lockers_total
FROM pg_stat_progress_create_index AS p JOIN pg_class AS c ON c.oid = p.index_relid
WHERE c.relnamespace = 'memory'::regnamespace AND c.relname = %(name)s::text

-- name: rename
-- Readers and writers do not block it, nor does it block them.
ALTER INDEX memory.{name} RENAME TO {other}

-- name: keep_choice
-- The parameters that `create_vector_index` uses from now on.
UPDATE memory.embedding_models SET m = %(m)s, ef_construction = %(ef_construction)s,
  lists = %(lists)s WHERE id = %(model)s
