-- name: index_vectors
-- Put some vectors that wait into the vector index, in bounded portions, and without waiting for
-- those that someone else indexes or writes; how many that were.
WITH pending AS (
  SELECT namespace, key, model, field FROM memory.memory_embeddings
  WHERE NOT indexed AND model = %(model)s LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), done AS (
  UPDATE memory.memory_embeddings AS e SET indexed = true FROM pending AS p
  WHERE e.namespace = ANY (ARRAY[p.namespace]) AND e.key = ANY (ARRAY[p.key]) AND e.model = p.model
    AND e.field = ANY (ARRAY[p.field]) RETURNING 1
)
SELECT count(*) AS indexed FROM done

-- name: index_words
-- What waits to be put into the full-text index, which only its owner may do at once.
SELECT gin_clean_pending_list('memory.memories_document')

-- name: count_waiting
-- How many vectors wait, counted no further than asked for.
SELECT count(*) AS waiting FROM (
  SELECT FROM memory.memory_embeddings WHERE NOT indexed AND model = %(model)s LIMIT %(limit)s
) AS counted
