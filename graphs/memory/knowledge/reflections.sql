-- name: get
SELECT m.namespace, m.key, m.value, m.created_at, m.updated_at FROM memory.memories AS m
WHERE m.namespace = ANY (ARRAY[%(namespace)s]) AND m.key = ANY (ARRAY[%(key)s])
  AND (m.expires_at IS NULL OR m.expires_at > now())
  AND jsonb_typeof(m.value -> 'content') = 'string'

-- name: list
-- Users may put items of any shape into this namespace: an item without a text is not a reflection.
SELECT m.namespace, m.key, m.value, m.created_at, m.updated_at FROM memory.memories AS m
WHERE m.namespace = %(scope)s AND (m.expires_at IS NULL OR m.expires_at > now())
  AND jsonb_typeof(m.value -> 'content') = 'string' AND m.value @> %(contains)s::jsonb
ORDER BY m.updated_at DESC, m.key LIMIT %(limit)s::int

-- name: list_on
-- The reflections that were made from one memory.
SELECT m.namespace, m.key, m.value, m.created_at, m.updated_at FROM memory.memories AS m
WHERE m.namespace = %(scope)s AND (m.expires_at IS NULL OR m.expires_at > now())
  AND jsonb_typeof(m.value -> 'content') = 'string' AND m.value @> %(contains)s::jsonb
  AND m.id IN (
    SELECT r.source_id FROM memory.memory_relationships AS r
    JOIN memory.memories AS o ON o.id = r.target_id
    WHERE o.namespace = ANY (ARRAY[%(namespace)s]) AND o.key = ANY (ARRAY[%(key)s])
      AND r.user_id = %(user_id)s AND r.type = %(type)s)
ORDER BY m.updated_at DESC, m.key LIMIT %(limit)s::int
