-- name: relate
-- Upsert an edge between two memories, if the user can see both. has_source and has_target tell
-- which of them were found.
WITH ends AS MATERIALIZED (
  SELECT (
    SELECT m.id FROM memory.memories AS m
    WHERE m.namespace = ANY (ARRAY[%(source_namespace)s]) AND m.key = ANY (ARRAY[%(source_key)s])
      AND (m.expires_at IS NULL OR m.expires_at > now())
      AND coalesce(m.user_id, %(user_id)s) = %(user_id)s
  ) AS source_id, (
    SELECT m.id FROM memory.memories AS m
    WHERE m.namespace = ANY (ARRAY[%(target_namespace)s]) AND m.key = ANY (ARRAY[%(target_key)s])
      AND (m.expires_at IS NULL OR m.expires_at > now())
      AND coalesce(m.user_id, %(user_id)s) = %(user_id)s
  ) AS target_id
), related AS (
  INSERT INTO memory.memory_relationships AS r (user_id, source_id, target_id, type, strength,
    metadata)
  SELECT %(user_id)s, source_id, target_id, %(type)s, %(strength)s::float8, %(metadata)s::jsonb
  FROM ends WHERE source_id IS NOT NULL AND target_id IS NOT NULL
  ON CONFLICT (user_id, org_id, source_id, target_id, type) DO UPDATE SET
    strength = EXCLUDED.strength, metadata = EXCLUDED.metadata
  RETURNING r.strength, r.metadata, r.created_at
)
SELECT ends.source_id IS NOT NULL AS has_source, ends.target_id IS NOT NULL AS has_target, related.*
FROM ends LEFT JOIN related ON true

-- name: unrelate
DELETE FROM memory.memory_relationships AS r USING memory.memories AS s, memory.memories AS t
WHERE s.namespace = ANY (ARRAY[%(source_namespace)s]) AND s.key = ANY (ARRAY[%(source_key)s])
  AND t.namespace = ANY (ARRAY[%(target_namespace)s]) AND t.key = ANY (ARRAY[%(target_key)s])
  AND r.source_id = s.id AND r.target_id = t.id AND r.user_id = %(user_id)s AND r.type = %(type)s
RETURNING r.id

-- name: in_order
-- Run before `of` and `traverse`: an index returns the edges of a memory in the order in which they
-- are followed. Where most memories have few edges, the planner would rather read and sort all of
-- them, and would read 10,000 edges of a hub to return ten.
SELECT set_config('enable_bitmapscan', 'off', true)

-- name: of
-- The edges of a memory, the strongest first. Edges to memories that the user cannot see are left
-- out.
WITH given AS MATERIALIZED (
  SELECT m.id FROM memory.memories AS m
  WHERE m.namespace = ANY (ARRAY[%(namespace)s]) AND m.key = ANY (ARRAY[%(key)s])
    AND (m.expires_at IS NULL OR m.expires_at > now())
    AND coalesce(m.user_id, %(user_id)s) = %(user_id)s
)
SELECT s.namespace AS source_namespace, s.key AS source_key, t.namespace AS target_namespace,
  t.key AS target_key,
  edge.type, edge.strength, edge.metadata, edge.created_at
FROM given CROSS JOIN LATERAL (
  (SELECT r.source_id, r.target_id, r.target_id AS other_id, r.type, r.strength, r.metadata,
    r.created_at
   FROM memory.memory_relationships AS r
   JOIN memory.memories AS m ON m.id = ANY (ARRAY[r.target_id])
   WHERE %(outgoing)s::boolean AND r.source_id = given.id AND r.user_id = %(user_id)s
     AND (%(types)s::text[] IS NULL OR r.type = ANY (%(types)s::text[]))
     AND (m.expires_at IS NULL OR m.expires_at > now())
     AND coalesce(m.user_id, %(user_id)s) = %(user_id)s
   ORDER BY r.strength DESC, r.target_id, r.type LIMIT %(limit)s::int)
  UNION ALL
  (SELECT r.source_id, r.target_id, r.source_id, r.type, r.strength, r.metadata, r.created_at
   FROM memory.memory_relationships AS r
   JOIN memory.memories AS m ON m.id = ANY (ARRAY[r.source_id])
   WHERE %(incoming)s::boolean AND r.target_id = given.id AND r.user_id = %(user_id)s
     AND (%(types)s::text[] IS NULL OR r.type = ANY (%(types)s::text[]))
     AND (m.expires_at IS NULL OR m.expires_at > now())
     AND coalesce(m.user_id, %(user_id)s) = %(user_id)s
   ORDER BY r.strength DESC, r.source_id, r.type LIMIT %(limit)s::int)
) AS edge
JOIN memory.memories AS s ON s.id = ANY (ARRAY[edge.source_id])
JOIN memory.memories AS t ON t.id = ANY (ARRAY[edge.target_id])
ORDER BY edge.strength DESC, edge.other_id, edge.type, edge.source_id = edge.other_id
LIMIT %(limit)s::int

-- name: traverse
-- The memory itself, then the strongest paths from it; one row for each memory on each path. From
-- the end of a path only the best `limit` edges are followed, and of each length only the best
-- `limit` paths are kept. No better path is lost: strengths are at most 1, so `limit` other paths
-- come before a path that was cut off, and before all that continue it. Edges, paths and results
-- have the same order, and an index returns edges in it.
WITH RECURSIVE walk (depth, strength, ids, types, strengths, forwards) AS (
  SELECT 0, 1::float8, ARRAY[m.id], '{}'::text[] COLLATE "C", '{}'::float8[], '{}'::boolean[]
  FROM memory.memories AS m
  WHERE m.namespace = ANY (ARRAY[%(namespace)s]) AND m.key = ANY (ARRAY[%(key)s])
    AND (m.expires_at IS NULL OR m.expires_at > now())
    AND coalesce(m.user_id, %(user_id)s) = %(user_id)s
  UNION ALL
  SELECT * FROM (
    SELECT walk.depth + 1, walk.strength * step.strength AS strength, walk.ids || step.id AS ids,
      walk.types || step.type AS types, walk.strengths || step.strength AS strengths,
      walk.forwards || step.forward AS forwards
    FROM walk CROSS JOIN LATERAL (
      (SELECT r.target_id AS id, r.type, r.strength, true AS forward
       FROM memory.memory_relationships AS r
       JOIN memory.memories AS m ON m.id = ANY (ARRAY[r.target_id])
       WHERE %(outgoing)s::boolean AND r.source_id = walk.ids[walk.depth + 1]
         AND r.user_id = %(user_id)s
         AND r.strength >= %(least)s::float8 AND walk.strength * r.strength >= %(least)s::float8
         AND (%(types)s::text[] IS NULL OR r.type = ANY (%(types)s::text[]))
         AND r.target_id <> ALL (walk.ids)
         AND (m.expires_at IS NULL OR m.expires_at > now())
         AND coalesce(m.user_id, %(user_id)s) = %(user_id)s
       ORDER BY r.strength DESC, r.target_id, r.type LIMIT %(limit)s::int)
      UNION ALL
      (SELECT r.source_id, r.type, r.strength, false
       FROM memory.memory_relationships AS r
       JOIN memory.memories AS m ON m.id = ANY (ARRAY[r.source_id])
       WHERE %(incoming)s::boolean AND r.target_id = walk.ids[walk.depth + 1]
         AND r.user_id = %(user_id)s
         AND r.strength >= %(least)s::float8 AND walk.strength * r.strength >= %(least)s::float8
         AND (%(types)s::text[] IS NULL OR r.type = ANY (%(types)s::text[]))
         AND r.source_id <> ALL (walk.ids)
         AND (m.expires_at IS NULL OR m.expires_at > now())
         AND coalesce(m.user_id, %(user_id)s) = %(user_id)s
       ORDER BY r.strength DESC, r.source_id, r.type LIMIT %(limit)s::int)
    ) AS step
    WHERE walk.depth < %(hops)s::int
    ORDER BY strength DESC, strengths DESC, ids, types, forwards LIMIT %(limit)s::int
  ) AS best
), best AS MATERIALIZED (
  SELECT
    row_number() OVER (ORDER BY strength DESC, depth, strengths DESC, ids, types, forwards) AS path,
    walk.*
  FROM walk ORDER BY path LIMIT %(limit)s::int + 1
)
SELECT best.path, best.strength, best.types, best.strengths, best.forwards,
  m.id, m.namespace, m.key, m.value, m.created_at, m.updated_at
FROM best CROSS JOIN LATERAL unnest(best.ids) WITH ORDINALITY AS stop (id, n)
JOIN memory.memories AS m ON m.id = ANY (ARRAY[stop.id])
ORDER BY best.path, stop.n
