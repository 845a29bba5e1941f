-- name: build_hnsw
CREATE INDEX CONCURRENTLY {name} ON memory.memory_embeddings
USING hnsw ((embedding::{vector}({dimensions})) {operators}) WITH (m = {m},
  ef_construction = {ef_construction})
WHERE model = {model} AND indexed

-- name: build_ivfflat
CREATE INDEX CONCURRENTLY {name} ON memory.memory_embeddings
USING ivfflat ((embedding::{vector}({dimensions})) {operators}) WITH (lists = {lists})
WHERE model = {model} AND indexed

-- name: drop
DROP INDEX CONCURRENTLY IF EXISTS memory.{name}
