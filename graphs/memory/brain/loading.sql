-- Loads of profiles into the brain, and their progress.

-- name: queue
-- Insert a load and queue its job. The function checks that the principal may do so.
SELECT memory.queue_load(%(kind)s, %(owner)s) AS id

-- name: loads
-- Loads that the principal may see, the latest first.
SELECT l.id, l.job_id, l.kind, memory.load_status(l.id) AS status, l.total, l.done, l.saved,
  l.unchanged, l.failed,
  l.queued_at, l.started_at, l.finished_at,
  l.done / nullif(
    extract(epoch FROM coalesce(l.finished_at, now()) - l.started_at), 0)::float8 AS rate,
  (SELECT coalesce(jsonb_agg(
      jsonb_build_object(
        'owner', coalesce(e.user_id, e.org_id), 'slug', e.slug, 'error', e.error)
      ORDER BY e.id), '[]')
    FROM memory.brain_load_errors AS e WHERE e.load_id = l.id) AS errors
FROM memory.brain_loads AS l
WHERE %(id)s::uuid IS NULL OR l.id = %(id)s::uuid
ORDER BY l.queued_at DESC LIMIT %(limit)s

-- name: cancel
UPDATE memory.brain_loads SET cancelled = true WHERE id = %(id)s::uuid AND finished_at IS NULL
RETURNING id

-- name: state
-- The state and cursor of an unfinished load.
SELECT kind, coalesce(user_id, org_id) AS owner, cursor, started_at, cancelled
FROM memory.brain_loads WHERE id = %(id)s::uuid AND finished_at IS NULL

-- name: begin
UPDATE memory.brain_loads SET started_at = now(), total = %(total)s WHERE id = %(id)s::uuid
  AND started_at IS NULL

-- name: made_user
-- The memories of these owners that a load made from profiles.
SELECT b.user_id AS owner, b.slug, m.updated_at
FROM memory.user_brain AS b JOIN memory.memories AS m ON m.id = ANY (ARRAY[b.memory_id])
WHERE b.user_id = ANY (%(owners)s::text[]) AND m.value -> 'metadata' ->> 'source' = 'profile'

-- name: made_company
SELECT b.org_id AS owner, b.slug, m.updated_at
FROM memory.company_brain AS b JOIN memory.memories AS m ON m.id = ANY (ARRAY[b.memory_id])
WHERE b.org_id = ANY (%(owners)s::text[]) AND m.value -> 'metadata' ->> 'source' = 'profile'

-- name: settle
-- Record the totals and failures of a batch, and move the cursor, in one statement. The condition
-- on the cursor makes sure that a batch which two workers processed is counted once. The cursor is
-- the id of a user or company, so it is emptied when the load ends. A load keeps 20 failures.
WITH settled AS (
  UPDATE memory.brain_loads AS l SET
    cursor = CASE WHEN %(is_last)s::boolean THEN '' ELSE %(reached)s END,
    done = l.done + %(done)s::bigint, saved = l.saved + %(saved)s::bigint,
    unchanged = l.unchanged + %(unchanged)s::bigint, failed = l.failed + %(failed)s::bigint,
    total = CASE
      WHEN %(is_last)s::boolean AND NOT l.cancelled THEN l.done + %(done)s::bigint ELSE l.total END,
    finished_at = CASE WHEN %(is_last)s::boolean THEN now() END
  WHERE l.id = %(id)s::uuid AND l.cursor = %(cursor)s AND l.finished_at IS NULL
  RETURNING l.id, l.kind IN ('user', 'users') AS of_user
)
INSERT INTO memory.brain_load_errors (load_id, user_id, org_id, slug, error)
SELECT s.id, CASE WHEN s.of_user THEN e.owner END, CASE WHEN NOT s.of_user THEN e.owner END,
  e.slug, e.error
FROM settled AS s
CROSS JOIN unnest(%(owners)s::text[], %(slugs)s::text[], %(errors)s::text[])
  AS e (owner, slug, error)
LIMIT greatest(20 - (SELECT count(*) FROM memory.brain_load_errors WHERE load_id = %(id)s::uuid), 0)
