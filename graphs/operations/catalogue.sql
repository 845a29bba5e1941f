-- name: lock_briefly
-- Waits only briefly for readers of a business table: later ones would queue behind this lock.
SELECT set_config('lock_timeout', '2s', true)

-- name: has_models
SELECT to_regclass('memory.embedding_models') IS NOT NULL AS has_models

-- name: models
SELECT jsonb_agg(to_jsonb(e))::text AS models FROM memory.embedding_models AS e

-- name: add_models
-- With the choice of each model's vector index.
INSERT INTO memory.embedding_models OVERRIDING SYSTEM VALUE
SELECT m.* FROM jsonb_populate_recordset(NULL::memory.embedding_models, %(models)s::jsonb) AS m

-- name: create_vector_indexes
-- A model that is not active needs no vector index, but may have one.
SELECT memory.create_vector_index(id, dimensions) FROM memory.embedding_models
WHERE active OR to_regclass('memory_set_aside.embeddings_vectors_' || id) IS NOT NULL
