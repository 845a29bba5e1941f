-- name: delivery
-- A pending delivery.
SELECT id, adapter, mode, user_id, intent, pseudonym, receipt FROM memory.deliveries
WHERE id = %(id)s::uuid AND status = 'pending'

-- name: begin
-- Record the attempt and the pseudonym before anything leaves. No row: the delivery is not pending.
-- An undelivered erasure goes first. Delivered later, it would also delete the newer data.
UPDATE memory.deliveries AS d SET attempts = attempts + 1, pseudonym = %(pseudonym)s
WHERE id = %(id)s::uuid AND status = 'pending'
RETURNING attempts, d.intent ->> 'kind' <> 'user_erased' AND EXISTS (
  SELECT FROM memory.deliveries AS e
  WHERE e.status IN ('pending', 'failed') AND e.adapter = d.adapter
    AND e.pseudonym = %(pseudonym)s AND e.intent ->> 'kind' = 'user_erased') AS waits_for_erasure

-- name: memory
-- The current state of a user's memory, and the service's id of its copy. If the memory was
-- deleted, only the latter.
SELECT a.namespace, a.key, m.value ->> 'content' AS content, m.value ->> 'type' AS type,
  m.value ->> 'role' AS role, c.external_id
FROM (SELECT %(namespace)s::text AS namespace, %(key)s::text AS key) AS a
LEFT JOIN memory.memories AS m
  ON m.namespace = ANY (ARRAY[a.namespace]) AND m.key = ANY (ARRAY[a.key])
  AND m.user_id = %(user_id)s AND (m.expires_at IS NULL OR m.expires_at > now())
  AND jsonb_typeof(m.value -> 'content') = 'string'
LEFT JOIN memory.external_copies AS c
  ON c.adapter = %(adapter)s AND c.namespace = ANY (ARRAY[a.namespace])
  AND c.key = ANY (ARRAY[a.key]) AND c.user_id = %(user_id)s

-- name: turns
-- The same for both sides of an exchange.
SELECT t.namespace, t.key, m.value ->> 'content' AS content, m.value ->> 'type' AS type,
  t.role, c.external_id
FROM memory.turns AS t
LEFT JOIN memory.memories AS m
  ON m.namespace = ANY (ARRAY[t.namespace]) AND m.key = ANY (ARRAY[t.key])
  AND m.user_id = t.user_id AND (m.expires_at IS NULL OR m.expires_at > now())
  AND jsonb_typeof(m.value -> 'content') = 'string'
LEFT JOIN memory.external_copies AS c
  ON c.adapter = %(adapter)s AND c.namespace = ANY (ARRAY[t.namespace])
  AND c.key = ANY (ARRAY[t.key]) AND c.user_id = t.user_id
WHERE t.user_id = %(user_id)s AND t.session_id = %(session_id)s AND t.exchange = %(exchange)s
ORDER BY t.id

-- name: delivered
-- Record the arrival, the redactions and the service's ids of its copies. If the user was erased
-- meanwhile, the delivery is gone, and nothing is recorded.
WITH done AS (
  UPDATE memory.deliveries SET status = 'delivered', delivered_at = clock_timestamp(),
    error = NULL, receipt = NULL, redactions = %(redactions)s::jsonb
  WHERE id = %(id)s::uuid RETURNING adapter, user_id
), copies AS (
  SELECT done.adapter, done.user_id, c.namespace, c.key, c.external_id
  FROM done, unnest(%(namespaces)s::text[], %(keys)s::text[], %(external_ids)s::text[])
    AS c (namespace, key, external_id)
), gone AS (
  DELETE FROM memory.external_copies AS e USING copies AS c
  WHERE e.adapter = c.adapter AND e.namespace = c.namespace AND e.key = c.key
    AND c.external_id IS NULL
)
INSERT INTO memory.external_copies AS e (adapter, namespace, key, user_id, external_id)
SELECT adapter, namespace, key, user_id, external_id FROM copies WHERE external_id IS NOT NULL
ON CONFLICT (adapter, namespace, key) DO UPDATE
  SET external_id = EXCLUDED.external_id, updated_at = now()

-- name: not_delivered
-- Record a failed attempt. Unless the status is `pending`, it was the last one.
UPDATE memory.deliveries SET status = %(status)s, error = %(error)s, receipt = %(receipt)s,
  redactions = coalesce(%(redactions)s::jsonb, redactions)
WHERE id = %(id)s::uuid AND status = 'pending'

-- name: list
-- Deliveries, the latest first.
SELECT id, adapter, mode, user_id, intent, status, attempts, error, redactions, created_at,
  delivered_at
FROM memory.deliveries
WHERE (%(status)s::text IS NULL OR status = %(status)s)
  AND (%(adapter)s::text IS NULL OR adapter = %(adapter)s)
  AND (%(user_id)s::text IS NULL OR user_id = %(user_id)s)
ORDER BY created_at DESC, id LIMIT %(limit)s

-- name: replay
-- Queue failed and skipped deliveries again.
SELECT memory.replay_deliveries(%(ids)s::text[]::uuid[], %(adapter)s) AS id

-- name: would_replay
-- The deliveries that `replay` would queue.
SELECT id FROM memory.deliveries
WHERE status IN ('failed', 'skipped')
  AND (id = ANY (%(ids)s::text[]::uuid[]) OR adapter = %(adapter)s)

-- name: tell
-- Queue deliveries of the next memories, and return the id of the last one; NULL after the end.
SELECT memory.tell_memories(%(adapter)s, %(mode)s, %(after)s::bigint, %(most)s::int) AS last

-- name: rescue
-- Queue stuck deliveries again.
SELECT memory.rescue_deliveries(%(most)s::int, %(older_than)s::float8) AS rescued

-- name: open
-- The number of failed deliveries, and the age of the oldest pending one.
SELECT count(*) FILTER (WHERE status = 'failed') AS failed,
  extract(epoch FROM now() - min(created_at) FILTER (WHERE status = 'pending'))::float8
    AS behind_seconds
FROM memory.deliveries WHERE status IN ('pending', 'failed')

-- name: sync
-- The health of each adapter: pending deliveries and the age of the oldest, failed ones, and the
-- durations of the last hour's.
SELECT adapter, count(*) FILTER (WHERE status = 'pending') AS pending,
  count(*) FILTER (WHERE status = 'failed') AS failed,
  extract(epoch FROM now() - min(created_at) FILTER (WHERE status = 'pending'))::float8
    AS behind_seconds,
  count(*) FILTER (WHERE status = 'delivered') AS delivered,
  percentile_cont(0.5) WITHIN GROUP (
    ORDER BY extract(epoch FROM delivered_at - created_at)::float8) AS median_seconds,
  percentile_cont(0.99) WITHIN GROUP (
    ORDER BY extract(epoch FROM delivered_at - created_at)::float8) AS p99_seconds
FROM (
  SELECT * FROM memory.deliveries WHERE status IN ('pending', 'failed')
  UNION ALL
  SELECT * FROM memory.deliveries
  WHERE status = 'delivered' AND created_at > now() - interval '1 hour'
) AS looked_at
GROUP BY adapter ORDER BY adapter

-- name: known_as
-- A user's memories by a service's ids of its copies, in the order of these; NULL for unknown ids.
SELECT g.n, c.namespace, c.key
FROM unnest(%(external_ids)s::text[]) WITH ORDINALITY AS g (external_id, n)
LEFT JOIN memory.external_copies AS c
  ON c.adapter = %(adapter)s AND c.external_id = ANY (ARRAY[g.external_id])
  AND c.user_id = %(user_id)s
ORDER BY g.n

-- name: heard
-- Log a service's event about its copy of a memory. The id of a deleted copy is removed, so that
-- the memory can be delivered anew.
WITH copy AS (
  SELECT user_id, namespace, key FROM memory.external_copies
  WHERE adapter = %(adapter)s AND external_id = %(external_id)s
), gone AS (
  DELETE FROM memory.external_copies AS e USING copy AS c
  WHERE e.adapter = %(adapter)s AND e.namespace = c.namespace AND e.key = c.key
    AND %(event)s::text = 'DELETE'
)
SELECT c.user_id, c.namespace, c.key, memory.log_event(
  c.user_id, 'adapter.told', jsonb_build_object(
  'adapter', %(adapter)s::text, 'event', %(event)s::text,
  'namespace', c.namespace, 'key', c.key), %(event_id)s::uuid)
FROM copy AS c
