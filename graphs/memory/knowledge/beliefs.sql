-- name: held
-- Set the confidence of a belief. No row is returned if there is no such belief.
INSERT INTO memory.belief_graphs AS b (memory_id, user_id, confidence)
SELECT m.id, %(user_id)s, %(confidence)s::float8 FROM memory.memories AS m
WHERE m.namespace = ANY (ARRAY[%(namespace)s]) AND m.key = ANY (ARRAY[%(key)s])
  AND (m.expires_at IS NULL OR m.expires_at > now())
  AND jsonb_typeof(m.value -> 'content') = 'string'
ON CONFLICT (memory_id) DO UPDATE SET confidence = EXCLUDED.confidence, updated_at = now()
RETURNING b.memory_id

-- name: reinstated
-- Remove the edges that supersede a belief, because it holds again.
DELETE FROM memory.memory_relationships AS r USING memory.memories AS m
WHERE m.namespace = ANY (ARRAY[%(namespace)s]) AND m.key = ANY (ARRAY[%(key)s])
  AND r.target_id = m.id AND r.user_id = %(user_id)s AND r.type = %(type)s

-- name: superseded
-- Mark a belief as superseded, in its value, where searches filter on it. No row is returned if
-- there is no such belief.
UPDATE memory.memories AS m SET value = jsonb_set(m.value, '{superseded}', 'true')
WHERE m.namespace = ANY (ARRAY[%(namespace)s]) AND m.key = ANY (ARRAY[%(key)s])
  AND (m.expires_at IS NULL OR m.expires_at > now())
RETURNING m.id

-- name: get
-- A belief without a row in belief_graphs was stored by write_memory: its confidence is 1.
SELECT m.namespace, m.key, m.value, m.created_at,
  greatest(m.updated_at, b.updated_at) AS updated_at,
  coalesce(b.confidence, 1) AS confidence, m.value @> '{"superseded": true}' AS superseded
FROM memory.memories AS m LEFT JOIN memory.belief_graphs AS b ON b.memory_id = m.id
WHERE m.namespace = ANY (ARRAY[%(namespace)s]) AND m.key = ANY (ARRAY[%(key)s])
  AND (m.expires_at IS NULL OR m.expires_at > now())
  AND jsonb_typeof(m.value -> 'content') = 'string'

-- name: list
-- Users may put items of any shape into this namespace: an item without a text is not a belief.
SELECT m.namespace, m.key, m.value, m.created_at,
  greatest(m.updated_at, b.updated_at) AS updated_at,
  coalesce(b.confidence, 1) AS confidence, m.value @> '{"superseded": true}' AS superseded
FROM memory.memories AS m LEFT JOIN memory.belief_graphs AS b ON b.memory_id = m.id
WHERE m.namespace = %(namespace)s AND (m.expires_at IS NULL OR m.expires_at > now())
  AND jsonb_typeof(m.value -> 'content') = 'string' AND m.value @> %(contains)s::jsonb
  AND (%(superseded)s::boolean OR NOT m.value @> '{"superseded": true}')
  AND coalesce(b.confidence, 1) >= %(least)s::float8
ORDER BY confidence DESC, updated_at DESC, m.key LIMIT %(limit)s::int

-- name: confidences
SELECT m.key, coalesce(b.confidence, 1) AS confidence
FROM memory.memories AS m LEFT JOIN memory.belief_graphs AS b ON b.memory_id = m.id
WHERE m.namespace = %(namespace)s AND m.key = ANY (%(keys)s::text[])
  AND (m.expires_at IS NULL OR m.expires_at > now())
