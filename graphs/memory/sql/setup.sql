-- name: lock
-- One process at a time prepares a database; the lock ends with the transaction.
SELECT pg_advisory_xact_lock(hashtextextended('graph-native-memory setup', 0))

-- name: has_auth
SELECT to_regprocedure('auth.uid()') IS NOT NULL AS has_auth

-- name: has_versions
SELECT to_regclass('memory.schema_versions') IS NOT NULL AS has_versions

-- name: latest_version
SELECT digest FROM memory.schema_versions ORDER BY id DESC LIMIT 1

-- name: record_version
INSERT INTO memory.schema_versions (digest) VALUES (%(digest)s)

-- name: active_model
SELECT id, name, dimensions, 'halfvec'::regtype::oid::bigint AS vector_type FROM memory.embedding_models WHERE active

-- name: has_vectors
SELECT EXISTS (SELECT FROM memory.memory_embeddings) AS exists

-- name: retire_model
UPDATE memory.embedding_models SET active = false WHERE active

-- name: activate_model
INSERT INTO memory.embedding_models (name, dimensions, active) VALUES (%(name)s, %(dimensions)s, true)
ON CONFLICT (name, dimensions) DO UPDATE SET active = true

-- name: create_vector_index
SELECT memory.create_vector_index(%(model)s, %(dimensions)s)

-- name: rebuild_vector_index
SELECT memory.rebuild_vector_index(%(model)s, %(dimensions)s)

-- name: has_configuration
SELECT EXISTS (SELECT FROM pg_ts_config WHERE cfgname = %(configuration)s) AS exists
