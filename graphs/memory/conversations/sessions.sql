-- name: touch_session
INSERT INTO memory.sessions (user_id, id, agent) VALUES (%(user_id)s, %(session_id)s, %(agent)s)
ON CONFLICT (user_id, id) DO UPDATE SET last_activity_at = now(), agent = EXCLUDED.agent,
  ended_at = NULL

-- name: put_turns
-- Record the turns of an exchange. Storing an exchange again keeps its position in the session, and
-- clears extracted_at, so that facts are extracted from it again.
INSERT INTO memory.turns (user_id, session_id, exchange, role, agent, namespace, key)
SELECT %(user_id)s, %(session_id)s, %(exchange)s, role, %(agent)s, namespace, key
FROM unnest(%(roles)s::text[], %(namespaces)s::text[], %(keys)s::text[])
  AS given (role, namespace, key)
ON CONFLICT (user_id, session_id, exchange, role) DO UPDATE SET
  agent = EXCLUDED.agent, run_id = EXCLUDED.run_id, checkpoint_id = EXCLUDED.checkpoint_id,
  extracted_at = NULL

-- name: session
SELECT s.id, s.agent, s.title, s.thread_id, s.created_at, s.last_activity_at,
  (SELECT count(*) FROM memory.turns AS t WHERE t.user_id = s.user_id
    AND t.session_id = s.id) AS turns
FROM memory.sessions AS s WHERE s.user_id = %(user_id)s AND s.id = %(session_id)s

-- name: latest
-- A user's sessions, or one of them, the latest first. Each has its number of turns and its title,
-- or else the first words of the user.
SELECT s.id, s.agent, coalesce(s.title, (
    SELECT left(m.value ->> 'content', 120)
    FROM memory.turns AS t JOIN memory.memories AS m ON m.namespace = ANY (ARRAY[t.namespace])
      AND m.key = ANY (ARRAY[t.key])
    WHERE t.user_id = s.user_id AND t.session_id = s.id AND t.role = 'user'
    ORDER BY t.id LIMIT 1)) AS title, s.thread_id, s.created_at, s.last_activity_at,
  (SELECT count(*) FROM memory.turns AS t WHERE t.user_id = s.user_id
    AND t.session_id = s.id) AS turns
FROM memory.sessions AS s
WHERE s.user_id = %(user_id)s AND s.id = ANY (coalesce(%(only)s::text[], ARRAY[s.id]))
  AND (s.last_activity_at, s.id) < (%(at)s::timestamptz, %(id)s::text COLLATE "C")
ORDER BY s.last_activity_at DESC, s.id DESC LIMIT %(most)s

-- name: turns
-- The turns of a session, the latest first.
SELECT t.id, t.role, t.session_id, t.exchange, t.created_at, t.agent, t.namespace, t.key,
  t.thread_id, t.run_id, t.checkpoint_id,
  m.value ->> 'content' AS content
FROM memory.turns AS t JOIN memory.memories AS m ON m.namespace = ANY (ARRAY[t.namespace])
  AND m.key = ANY (ARRAY[t.key])
WHERE t.user_id = %(user_id)s AND t.session_id = %(session_id)s AND t.id < %(id)s::bigint
  AND (m.expires_at IS NULL OR m.expires_at > now())
  AND jsonb_typeof(m.value -> 'content') = 'string'
ORDER BY t.id DESC LIMIT %(most)s

-- name: exchanges
-- Both turns of each exchange, in the order in which they were stored.
SELECT t.id, t.role, t.session_id, t.exchange, t.created_at, t.agent, t.namespace, t.key,
  t.thread_id, t.run_id, t.checkpoint_id,
  m.value ->> 'content' AS content
FROM (SELECT DISTINCT *
  FROM unnest(%(sessions)s::text[], %(exchanges)s::text[]) AS given (session_id, exchange)) AS given
JOIN memory.turns AS t ON t.user_id = %(user_id)s AND t.session_id = given.session_id
  AND t.exchange = given.exchange
JOIN memory.memories AS m ON m.namespace = ANY (ARRAY[t.namespace]) AND m.key = ANY (ARRAY[t.key])
WHERE (m.expires_at IS NULL OR m.expires_at > now())
  AND jsonb_typeof(m.value -> 'content') = 'string'
ORDER BY t.id

-- name: recent_turns
-- The last turns of a session, oldest first.
SELECT * FROM (
  SELECT t.id, t.role, t.session_id, t.exchange, t.created_at, m.value ->> 'content' AS content
  FROM memory.turns AS t JOIN memory.memories AS m ON m.namespace = ANY (ARRAY[t.namespace])
    AND m.key = ANY (ARRAY[t.key])
  WHERE t.user_id = %(user_id)s AND t.session_id = %(session_id)s
    AND (m.expires_at IS NULL OR m.expires_at > now())
    AND jsonb_typeof(m.value -> 'content') = 'string'  -- users may overwrite items of their turns
  ORDER BY t.id DESC LIMIT %(limit)s
) AS recent
ORDER BY id

-- name: pinned
-- The pinned memories of a user, the latest change first.
SELECT m.namespace, m.key, m.value, m.created_at, m.updated_at
FROM memory.memories AS m
WHERE m.user_id = %(user_id)s AND m.value -> 'pinned' = 'true'
  AND (m.expires_at IS NULL OR m.expires_at > now())
  AND (%(agent)s::text IS NULL OR m.value ->> 'agent' = %(agent)s::text)
ORDER BY m.updated_at DESC LIMIT %(limit)s

-- name: pinned_among
-- The addresses, of those given, whose memories are pinned.
SELECT m.namespace, m.key
FROM unnest(%(namespaces)s::text[], %(keys)s::text[]) AS given (namespace, key)
JOIN memory.memories AS m ON m.namespace = ANY (ARRAY[given.namespace])
  AND m.key = ANY (ARRAY[given.key])
WHERE m.value -> 'pinned' = 'true' AND (m.expires_at IS NULL OR m.expires_at > now())

-- name: profile
SELECT profile FROM memory.users WHERE id = %(user_id)s

-- name: record_execution
-- One row for each run of an agent. finished_at is the time of its last write.
INSERT INTO memory.agent_executions (run_id, agent, user_id, session_id, finished_at)
VALUES (%(run_id)s, %(agent)s, %(user_id)s, %(session_id)s, now())
ON CONFLICT (user_id, run_id, agent) DO UPDATE SET finished_at = EXCLUDED.finished_at
