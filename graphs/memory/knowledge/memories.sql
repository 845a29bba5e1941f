-- name: get
-- A memory, and the fields that it has vectors of.
SELECT m.id, m.namespace, m.key, m.value, m.created_at, m.updated_at, m.expires_at, m.ttl_minutes,
  m.document IS NOT NULL AS indexed,
  ARRAY(SELECT DISTINCT e.field FROM memory.memory_embeddings AS e
    WHERE e.namespace = m.namespace AND e.key = m.key) AS fields
FROM memory.memories AS m
WHERE m.namespace = ANY (ARRAY[%(namespace)s]) AND m.key = ANY (ARRAY[%(key)s])
  AND (m.expires_at IS NULL OR m.expires_at > now())
  AND coalesce(m.user_id, %(user_id)s) = %(user_id)s

-- name: latest
-- A user's memories, the latest change first. Turns are many, and `store.sessions` lists them: they
-- are returned only if their type is asked for.
SELECT m.id, m.namespace, m.key, m.value, m.created_at, m.updated_at, m.expires_at, m.ttl_minutes
FROM memory.memories AS m
WHERE m.user_id = %(user_id)s
  AND (m.updated_at, m.id) < (%(at)s::timestamptz, %(id)s::bigint)
  AND (m.expires_at IS NULL OR m.expires_at > now())
  AND CASE WHEN %(types)s::text[] IS NULL THEN m.value ->> 'type' IS DISTINCT FROM 'turn'
    ELSE m.value ->> 'type' = ANY (%(types)s::text[]) END
  AND m.value @> %(containing)s::jsonb
ORDER BY m.updated_at DESC, m.id DESC LIMIT %(most)s

-- name: history
-- The earlier versions of an address, the last one first. The id orders versions that one statement
-- ended at the same time. Those up to the expiry of their memory wait to be erased.
SELECT h.id, h.value, h.operation, h.valid_from, h.valid_to, h.run_id, h.ended_by
FROM memory.memory_history AS h
WHERE h.namespace = ANY (ARRAY[%(namespace)s]) AND h.key = ANY (ARRAY[%(key)s])
  AND coalesce(h.user_id, %(user_id)s) = %(user_id)s
  AND (h.valid_to, h.id) < (%(at)s::timestamptz, %(id)s::bigint)
  AND NOT EXISTS (
    SELECT FROM memory.memory_history AS e
    WHERE e.namespace = ANY (ARRAY[%(namespace)s]) AND e.key = ANY (ARRAY[%(key)s]) AND e.expired
      AND e.memory_id = h.memory_id AND e.id >= h.id)
ORDER BY h.valid_to DESC, h.id DESC LIMIT %(most)s

-- name: written_by
SELECT m.id, m.namespace, m.key, m.value, m.created_at, m.updated_at, m.expires_at, m.ttl_minutes
FROM memory.memories AS m
WHERE m.run_id = %(run_id)s AND m.user_id = %(user_id)s
  AND (m.expires_at IS NULL OR m.expires_at > now())
ORDER BY m.id LIMIT %(limit)s
