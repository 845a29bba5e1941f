-- name: touch_session
INSERT INTO memory.sessions (user_id, id, agent) VALUES (%(user_id)s, %(session_id)s, %(agent)s)
ON CONFLICT (user_id, id) DO UPDATE SET last_activity_at = now(), agent = EXCLUDED.agent

-- name: put_turns
-- Where the items of an exchange belong. Storing an exchange again keeps the place it had.
INSERT INTO memory.turns (user_id, session_id, exchange, role, agent, namespace, key)
SELECT %(user_id)s, %(session_id)s, %(exchange)s, role, %(agent)s, namespace, key
FROM unnest(%(roles)s::text[], %(namespaces)s::text[], %(keys)s::text[]) AS given (role, namespace, key)
ON CONFLICT (user_id, session_id, exchange, role) DO UPDATE SET
  agent = EXCLUDED.agent, run_id = EXCLUDED.run_id, checkpoint_id = EXCLUDED.checkpoint_id, extracted_at = NULL

-- name: session
SELECT s.id, s.agent, s.title, s.created_at, s.last_activity_at,
  (SELECT count(*) FROM memory.turns AS t WHERE t.user_id = s.user_id AND t.session_id = s.id) AS turns
FROM memory.sessions AS s WHERE s.user_id = %(user_id)s AND s.id = %(session_id)s

-- name: recent_turns
-- The last turns of a session, oldest first.
SELECT * FROM (
  SELECT t.id, t.role, t.session_id, t.exchange, t.created_at, m.value ->> 'content' AS content
  FROM memory.turns AS t JOIN memory.memories AS m ON m.namespace = ANY (ARRAY[t.namespace]) AND m.key = ANY (ARRAY[t.key])
  WHERE t.user_id = %(user_id)s AND t.session_id = %(session_id)s
    AND (m.expires_at IS NULL OR m.expires_at > now())
    AND jsonb_typeof(m.value -> 'content') = 'string'  -- a person may overwrite the items of their own turns
  ORDER BY t.id DESC LIMIT %(limit)s
) AS recent
ORDER BY id

-- name: profile
SELECT profile FROM memory.users WHERE id = %(user_id)s

-- name: record_execution
-- One row for each run of an agent. A run that writes twice finishes when it wrote last.
INSERT INTO memory.agent_executions (run_id, agent, user_id, session_id, finished_at)
VALUES (%(run_id)s, %(agent)s, %(user_id)s, %(session_id)s, now())
ON CONFLICT (user_id, run_id, agent) DO UPDATE SET finished_at = EXCLUDED.finished_at
