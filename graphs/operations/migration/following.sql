-- Applies changes of a followed source, and compares both sides. Runs as the owner of the tables,
-- and touches only memories that the ledger has and that nobody changed here since.

-- name: same
-- The items that are equal on both sides, except for their expiry.
SELECT w.n FROM unnest(%(namespaces)s::text[], %(keys)s::text[], %(values)s::text[],
  %(created)s::text[], %(updated)s::text[],
  %(ttls)s::float8[]) WITH ORDINALITY AS w (namespace, key, value, created_at, updated_at,
  ttl_minutes, n)
JOIN memory.memories AS m ON m.namespace = ANY (ARRAY[w.namespace]) AND m.key = ANY (ARRAY[w.key])
WHERE m.value = w.value::jsonb AND m.created_at = w.created_at::timestamptz
  AND m.updated_at = w.updated_at::timestamptz
  AND m.ttl_minutes IS NOT DISTINCT FROM w.ttl_minutes

-- name: prolong
-- Never shortens an expiry: a read in this store may have extended it further.
UPDATE memory.memories AS m SET expires_at = greatest(m.expires_at, g.expires_at::timestamptz)
FROM unnest(%(namespaces)s::text[], %(keys)s::text[], %(updated)s::text[],
  %(expires)s::text[]) AS g (namespace, key, updated_at, expires_at)
WHERE m.namespace = ANY (ARRAY[g.namespace]) AND m.key = ANY (ARRAY[g.key])
  AND m.updated_at = g.updated_at::timestamptz
  AND m.expires_at < g.expires_at::timestamptz

-- name: renew
-- Memories that changed in the source since their import.
WITH given AS MATERIALIZED (
  SELECT * FROM unnest(%(namespaces)s::text[], %(keys)s::text[], %(sources)s::text[],
    %(values)s::text[], %(labels)s::text[],
    %(texts)s::text[], %(created)s::text[], %(updated)s::text[], %(expires)s::text[],
    %(ttls)s::float8[])
    AS g (namespace, key, source_id, value, label, text, created_at, updated_at, expires_at,
      ttl_minutes)
), noted AS (
  SELECT g.*, b.memory_id, b.version FROM given AS g
  JOIN memory.migrated_memories AS b ON b.migration_id = %(id)s::uuid
    AND b.namespace = ANY (ARRAY[g.namespace]) AND b.key = ANY (ARRAY[g.key])
    AND b.source_id = g.source_id
), renewed AS (
  UPDATE memory.memories AS m SET value = g.value::jsonb,
    document = array_to_tsvector(ARRAY['@' || split_part(g.namespace, '.', 1) || '.'
      || split_part(g.namespace, '.', 2)]) ||
      setweight(to_tsvector(%(configuration)s::regconfig, g.label), 'A')
        || to_tsvector(%(configuration)s::regconfig, g.text),
    created_at = g.created_at::timestamptz, updated_at = g.updated_at::timestamptz,
    expires_at = g.expires_at::timestamptz, ttl_minutes = g.ttl_minutes
  FROM noted AS g
  WHERE m.namespace = ANY (ARRAY[g.namespace]) AND m.key = ANY (ARRAY[g.key]) AND m.id = g.memory_id
    AND m.updated_at = g.version
  RETURNING m.id, m.namespace, m.key, m.updated_at
), noted_again AS (
  UPDATE memory.migrated_memories AS b SET version = r.updated_at FROM renewed AS r
  WHERE b.migration_id = %(id)s::uuid AND b.namespace = ANY (ARRAY[r.namespace])
    AND b.key = ANY (ARRAY[r.key])
)
SELECT id, namespace, key FROM renewed

-- name: forget_vectors
DELETE FROM memory.memory_embeddings AS e USING unnest(%(namespaces)s::text[],
  %(keys)s::text[]) AS g (namespace, key)
WHERE e.namespace = ANY (ARRAY[g.namespace]) AND e.key = ANY (ARRAY[g.key])

-- name: unnote
-- Forgets memories that were swept here, so that they can be imported again.
DELETE FROM memory.migrated_memories AS b USING unnest(%(namespaces)s::text[],
  %(keys)s::text[]) AS g (namespace, key)
WHERE b.migration_id = %(id)s::uuid AND b.namespace = ANY (ARRAY[g.namespace])
  AND b.key = ANY (ARRAY[g.key])
  AND NOT EXISTS (SELECT FROM memory.memories AS m
    WHERE m.namespace = ANY (ARRAY[g.namespace]) AND m.key = ANY (ARRAY[g.key])
      AND m.id = b.memory_id)

-- name: withdraw
-- Deletes memories that were deleted in the source.
WITH gone AS (
  DELETE FROM memory.memories AS m
  USING unnest(%(namespaces)s::text[], %(keys)s::text[], %(sources)s::text[]) AS g (namespace, key,
    source_id),
    memory.migrated_memories AS b
  WHERE b.migration_id = %(id)s::uuid AND b.namespace = ANY (ARRAY[g.namespace])
    AND b.key = ANY (ARRAY[g.key])
    AND b.source_id = g.source_id
    AND m.namespace = ANY (ARRAY[g.namespace]) AND m.key = ANY (ARRAY[g.key]) AND m.id = b.memory_id
    AND m.updated_at = b.version
  RETURNING m.namespace, m.key
), unnoted AS (
  DELETE FROM memory.migrated_memories AS b USING gone AS g
  WHERE b.migration_id = %(id)s::uuid AND b.namespace = ANY (ARRAY[g.namespace])
    AND b.key = ANY (ARRAY[g.key])
)
SELECT count(*) AS gone FROM gone

-- name: reopen
-- Resumes a finished migration, which is followed again.
UPDATE memory.migrations SET status = 'running', finished_at = NULL, updated_at = now()
WHERE id = %(id)s::uuid AND status = 'finished'

-- name: without_limit
SELECT set_config('statement_timeout', '0', true)

-- name: digest
-- The number of imported memories that exist, and the same checksum as in the source.
SELECT count(*) AS items, coalesce(sum(('x' || left(md5(jsonb_build_array(left(m.namespace, -1),
  m.key, m.value,
  to_char(m.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'),
  to_char(m.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'),
  to_char(m.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), m.ttl_minutes)::text),
    15))::bit(60)::bigint), 0)::text AS digest
FROM memory.migrated_memories AS b
JOIN memory.memories AS m ON m.namespace = ANY (ARRAY[b.namespace]) AND m.key = ANY (ARRAY[b.key])
  AND m.id = b.memory_id
WHERE b.migration_id = %(id)s::uuid AND (m.expires_at IS NULL OR m.expires_at > %(at)s::timestamptz)

-- name: here
-- The memories at some addresses, and whether they are as this migration imported them.
SELECT w.n, m.value, m.created_at, m.updated_at, m.expires_at, m.ttl_minutes,
  coalesce(b.memory_id = m.id AND b.version = m.updated_at AND b.source_id = w.source_id,
    false) AS untouched
FROM unnest(%(namespaces)s::text[], %(keys)s::text[], %(sources)s::text[])
  WITH ORDINALITY AS w (namespace, key, source_id, n)
JOIN memory.memories AS m ON m.namespace = ANY (ARRAY[w.namespace]) AND m.key = ANY (ARRAY[w.key])
LEFT JOIN memory.migrated_memories AS b ON b.migration_id = %(id)s::uuid
  AND b.namespace = ANY (ARRAY[m.namespace]) AND b.key = ANY (ARRAY[m.key])
WHERE m.expires_at IS NULL OR m.expires_at > now()

-- name: noted
-- The page of imported memories after an address, with their source ids; without those that are
-- about to expire.
SELECT b.namespace, b.key, b.source_id FROM memory.migrated_memories AS b
JOIN memory.memories AS m ON m.namespace = ANY (ARRAY[b.namespace]) AND m.key = ANY (ARRAY[b.key])
  AND m.id = b.memory_id
WHERE b.migration_id = %(id)s::uuid AND (b.namespace, b.key) > (%(namespace)s, %(key)s)
  AND (m.expires_at IS NULL OR m.expires_at > now() + interval '5 seconds')
ORDER BY b.namespace, b.key LIMIT %(limit)s
