-- name: unread_turns
-- The oldest turns of a session that no facts were extracted from yet. Exchanges are complete.
WITH waiting AS (
  SELECT t.exchange
  FROM memory.turns AS t
  JOIN memory.memories AS m
    ON m.namespace = ANY (ARRAY[t.namespace]) AND m.key = ANY (ARRAY[t.key])
  WHERE t.user_id = %(user_id)s AND t.session_id = %(session_id)s AND t.extracted_at IS NULL
    AND (m.expires_at IS NULL OR m.expires_at > now())
    AND jsonb_typeof(m.value -> 'content') = 'string'
    AND t.exchange <> ALL (%(but)s::text[])
  ORDER BY t.id LIMIT %(limit)s
)
SELECT t.role, m.value ->> 'content' AS content, m.value ->> 'timestamp' AS said_at, t.created_at,
  t.exchange, t.agent, m.updated_at AS written_at, t.thread_id, t.run_id, t.checkpoint_id
FROM memory.turns AS t
JOIN memory.memories AS m ON m.namespace = ANY (ARRAY[t.namespace]) AND m.key = ANY (ARRAY[t.key])
WHERE t.user_id = %(user_id)s AND t.session_id = %(session_id)s AND t.extracted_at IS NULL
  AND t.exchange IN (SELECT exchange FROM waiting)
  AND (m.expires_at IS NULL OR m.expires_at > now())
  AND jsonb_typeof(m.value -> 'content') = 'string'
ORDER BY t.id

-- name: read_turns
-- The last turns of a session that facts were extracted from, oldest first.
SELECT * FROM (
  SELECT t.id, t.role, m.value ->> 'content' AS content, m.value ->> 'timestamp' AS said_at,
    t.created_at, t.exchange, t.agent, m.updated_at AS written_at,
    t.thread_id, t.run_id, t.checkpoint_id
  FROM memory.turns AS t
  JOIN memory.memories AS m
    ON m.namespace = ANY (ARRAY[t.namespace]) AND m.key = ANY (ARRAY[t.key])
  WHERE t.user_id = %(user_id)s AND t.session_id = %(session_id)s AND t.extracted_at IS NOT NULL
    AND (m.expires_at IS NULL OR m.expires_at > now())
    AND jsonb_typeof(m.value -> 'content') = 'string'
  ORDER BY t.id DESC LIMIT %(limit)s
) AS latest
ORDER BY id

-- name: mark_read
-- Mark turns as read, unless one of them was changed since.
SELECT memory.mark_read(%(user_id)s, %(session_id)s, %(exchanges)s::text[], %(roles)s::text[],
  %(versions)s::text[]::timestamptz[])
