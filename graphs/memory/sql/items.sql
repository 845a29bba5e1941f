-- name: get
-- Several items by address. An item is stale once a tenth of its TTL has passed since it was refreshed.
SELECT w.n, m.value, m.created_at, m.updated_at, m.expires_at < now() + m.ttl_minutes * interval '54 seconds' AS stale
FROM unnest(%(namespaces)s::text[], %(keys)s::text[]) WITH ORDINALITY AS w (namespace, key, n)
JOIN memory.memories AS m ON m.namespace = w.namespace AND m.key = w.key
WHERE m.expires_at IS NULL OR m.expires_at > now()

-- name: refresh_ttl
-- Reading an item prolongs its life. A reader never waits for a lock: who holds it is refreshing or writing the item.
WITH stale AS (
  SELECT m.namespace, m.key
  FROM unnest(%(namespaces)s::text[], %(keys)s::text[]) AS found (namespace, key)
  JOIN memory.memories AS m ON m.namespace = found.namespace AND m.key = found.key
  WHERE m.expires_at > now()
  FOR UPDATE OF m SKIP LOCKED
)
UPDATE memory.memories AS m SET expires_at = now() + m.ttl_minutes * interval '1 minute'
FROM stale AS s WHERE m.namespace = s.namespace AND m.key = s.key

-- name: put
-- Insert or replace items. They are numbered in the order given, and locked in the order of their keys, so that batches
-- that cross do not wait for one another.
-- Times and provenance are stamped by the database.
WITH numbered AS MATERIALIZED (
  SELECT given.*, nextval('memory.memories_seq') AS seq
  FROM unnest(%(namespaces)s::text[], %(keys)s::text[], %(values)s::text[], %(ttls)s::float8[])
    AS given (namespace, key, value, ttl_minutes)
)
INSERT INTO memory.memories AS m (seq, namespace, key, value, ttl_minutes, expires_at)
SELECT seq, namespace, key, value::jsonb, ttl_minutes, now() + ttl_minutes * interval '1 minute'
FROM numbered ORDER BY namespace COLLATE "C", key COLLATE "C"
ON CONFLICT (namespace, key) DO UPDATE SET
  value = EXCLUDED.value,
  ttl_minutes = EXCLUDED.ttl_minutes,
  expires_at = EXCLUDED.expires_at

-- name: forget_vectors
-- Every vector of the old values goes: removed fields and list elements must not be found again.
DELETE FROM memory.memory_embeddings AS e
USING unnest(%(namespaces)s::text[], %(keys)s::text[]) AS given (namespace, key)
WHERE e.namespace = given.namespace AND e.key = given.key

-- name: put_vectors
INSERT INTO memory.memory_embeddings (namespace, key, field, model, embedding)
SELECT namespace, key, field, %(model)s, embedding
FROM unnest(%(namespaces)s::text[], %(keys)s::text[], %(fields)s::text[], %(embeddings)s::halfvec[])
  AS given (namespace, key, field, embedding)

-- name: delete
-- Locked in the order of their keys, as puts are.
WITH locked AS (
  SELECT m.namespace, m.key
  FROM memory.memories AS m
  JOIN unnest(%(namespaces)s::text[], %(keys)s::text[]) AS given (namespace, key)
    ON m.namespace = given.namespace AND m.key = given.key
  ORDER BY m.namespace, m.key FOR UPDATE OF m
)
DELETE FROM memory.memories AS m USING locked WHERE m.namespace = locked.namespace AND m.key = locked.key

-- name: list_namespaces
-- Namespaces in a range that fit every condition, cut to a depth, in the order of their labels.
SELECT DISTINCT path[1:coalesce(%(max_depth)s, cardinality(path))] AS path
FROM (
  SELECT string_to_array(rtrim(namespace, '.'), '.') COLLATE "C" AS path
  FROM (
    SELECT DISTINCT namespace FROM memory.memories
    WHERE namespace >= %(low)s AND (%(high)s::text IS NULL OR namespace < %(high)s)
      AND (expires_at IS NULL OR expires_at > now())
  ) AS present
) AS paths
WHERE NOT EXISTS (
  SELECT FROM jsonb_to_recordset(%(conditions)s::jsonb) AS c (match_type text, path text[])
  WHERE NOT memory.path_matches(paths.path, c.path, c.match_type)
)
ORDER BY path
LIMIT %(limit)s OFFSET %(offset)s

-- name: sweep
-- Expired items, in bounded portions, without waiting for those that someone else is writing; how many went.
WITH expired AS (
  SELECT namespace, key FROM memory.memories
  WHERE expires_at <= now() ORDER BY expires_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), swept AS (
  DELETE FROM memory.memories AS m USING expired AS e
  WHERE m.namespace = e.namespace AND m.key = e.key RETURNING 1
)
SELECT count(*) AS swept FROM swept

-- name: ping
SELECT EXISTS (SELECT FROM memory.memories LIMIT 1)
