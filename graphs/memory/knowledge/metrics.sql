-- name: record
-- Record one value. The event id makes a retry change nothing.
INSERT INTO memory.cognitive_metrics AS c (user_id, session_id, agent, name, value, metadata,
  event_id)
VALUES (%(user_id)s, %(session_id)s, %(agent)s, %(name)s, %(value)s::float8, %(metadata)s::jsonb,
  %(event_id)s::uuid)
ON CONFLICT (user_id, event_id) DO UPDATE SET event_id = EXCLUDED.event_id
RETURNING c.name, c.value, c.session_id, c.agent, c.metadata, c.run_id, c.created_at

-- name: series
-- The latest values of a metric, the oldest first.
SELECT name, value, session_id, agent, metadata, run_id, created_at FROM (
  SELECT * FROM memory.cognitive_metrics
  WHERE user_id = %(user_id)s AND name = %(name)s
    AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s::timestamptz)
    AND (%(agent)s::text IS NULL OR agent = %(agent)s)
  ORDER BY created_at DESC, id DESC LIMIT %(limit)s::int
) AS latest ORDER BY created_at, id
