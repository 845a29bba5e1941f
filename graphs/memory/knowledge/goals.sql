-- name: opened
-- Open a goal. A goal that is open already keeps its progress.
INSERT INTO memory.goal_assessments AS g (memory_id, user_id)
SELECT m.id, %(user_id)s FROM memory.memories AS m
WHERE m.namespace = ANY (ARRAY[%(namespace)s]) AND m.key = ANY (ARRAY[%(key)s])
ON CONFLICT (memory_id) DO UPDATE SET status = 'open', progress = 0, assessment = '{}',
  updated_at = now()
WHERE g.status <> 'open'

-- name: assess
-- Assess a goal. NULL leaves a value as it is. No row is returned if there is no such goal.
WITH assessed AS (
  INSERT INTO memory.goal_assessments AS g (memory_id, user_id, status, progress, assessment)
  SELECT m.id, %(user_id)s, coalesce(%(status)s, 'open'),
    coalesce(%(progress)s::float8, (coalesce(%(status)s, 'open') = 'achieved')::int),
    coalesce(%(assessment)s::jsonb, '{}')
  FROM memory.memories AS m
  WHERE m.namespace = ANY (ARRAY[%(namespace)s]) AND m.key = ANY (ARRAY[%(key)s])
    AND (m.expires_at IS NULL OR m.expires_at > now())
    AND jsonb_typeof(m.value -> 'content') = 'string'
  ON CONFLICT (memory_id) DO UPDATE SET
    status = coalesce(%(status)s, g.status),
    progress = coalesce(
      %(progress)s::float8, CASE WHEN %(status)s = 'achieved' THEN 1 END, g.progress),
    assessment = coalesce(%(assessment)s::jsonb, g.assessment),
    updated_at = now()
  RETURNING g.memory_id, g.status, g.progress, g.assessment, g.updated_at
)
SELECT m.namespace, m.key, m.value, m.created_at,
  greatest(m.updated_at, g.updated_at) AS updated_at,
  g.status, g.progress, g.assessment
FROM assessed AS g JOIN memory.memories AS m ON m.id = ANY (ARRAY[g.memory_id])

-- name: get
-- A goal without a row in goal_assessments was stored by write_memory: it is open.
SELECT m.namespace, m.key, m.value, m.created_at,
  greatest(m.updated_at, g.updated_at) AS updated_at,
  coalesce(g.status, 'open') AS status, coalesce(g.progress, 0) AS progress,
  coalesce(g.assessment, '{}') AS assessment
FROM memory.memories AS m LEFT JOIN memory.goal_assessments AS g ON g.memory_id = m.id
WHERE m.namespace = ANY (ARRAY[%(namespace)s]) AND m.key = ANY (ARRAY[%(key)s])
  AND (m.expires_at IS NULL OR m.expires_at > now())
  AND jsonb_typeof(m.value -> 'content') = 'string'

-- name: list
-- Users may put items of any shape into this namespace: an item without a text is not a goal.
SELECT m.namespace, m.key, m.value, m.created_at,
  greatest(m.updated_at, g.updated_at) AS updated_at,
  coalesce(g.status, 'open') AS status, coalesce(g.progress, 0) AS progress,
  coalesce(g.assessment, '{}') AS assessment
FROM memory.memories AS m LEFT JOIN memory.goal_assessments AS g ON g.memory_id = m.id
WHERE m.namespace = %(namespace)s AND (m.expires_at IS NULL OR m.expires_at > now())
  AND jsonb_typeof(m.value -> 'content') = 'string' AND m.value @> %(contains)s::jsonb
  AND (%(status)s::text IS NULL OR coalesce(g.status, 'open') = %(status)s)
ORDER BY updated_at DESC, m.key LIMIT %(limit)s::int
