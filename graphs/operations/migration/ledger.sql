-- Migrations write as the owner of the tables. Ids and times are the source's, and triggers neither
-- record nor announce the memories as new.

-- name: start
INSERT INTO memory.migrations (source, origin, options, total)
VALUES (%(source)s, %(origin)s, %(options)s::jsonb, %(total)s::bigint) RETURNING *

-- name: unfinished
-- The latest unfinished migration of a source.
SELECT * FROM memory.migrations
WHERE source = %(source)s AND origin = %(origin)s AND status IN ('running', 'paused')
ORDER BY started_at DESC LIMIT 1

-- name: all
SELECT * FROM memory.migrations ORDER BY started_at DESC, id

-- name: one
SELECT * FROM memory.migrations WHERE id::text = %(id)s

-- name: goes_on
UPDATE memory.migrations SET status = 'running', total = coalesce(%(total)s::bigint, total),
  updated_at = now()
WHERE id = %(id)s::uuid AND status IN ('running', 'paused')

-- name: pause
UPDATE memory.migrations SET status = 'paused', updated_at = now()
WHERE id = %(id)s::uuid AND status = 'running'

-- name: finish
UPDATE memory.migrations SET status = 'finished', total = coalesce(%(total)s::bigint, total),
  updated_at = now(),
  finished_at = now() WHERE id = %(id)s::uuid AND status = 'running'

-- name: hold
-- Locks a migration until the end of the transaction, and returns its progress.
SELECT status, cursor FROM memory.migrations WHERE id = %(id)s::uuid FOR UPDATE

-- name: advance
UPDATE memory.migrations SET cursor = %(cursor)s, brought = brought + %(brought)s::bigint,
  present = present + %(present)s::bigint, expired = expired + %(expired)s::bigint,
  rejected = rejected + %(rejected)s::bigint, updated_at = now()
WHERE id = %(id)s::uuid

-- name: silence
-- From here on the triggers of memories recognise a migration.
SELECT set_config('memory.importing', %(id)s, true)

-- name: erased
-- The erased ones of some users, each with the time of the last erasure.
SELECT w.n, max(e.erased_at) AS at FROM unnest(%(users)s::text[]) WITH ORDINALITY AS w (user_id, n)
JOIN memory.erasures AS e ON e.subject = sha256(convert_to(w.user_id, 'UTF8')) GROUP BY 1

-- name: present
-- The taken ones of some addresses.
SELECT w.n FROM unnest(%(namespaces)s::text[], %(keys)s::text[])
  WITH ORDINALITY AS w (namespace, key, n)
JOIN memory.memories AS m ON m.namespace = ANY (ARRAY[w.namespace]) AND m.key = ANY (ARRAY[w.key])

-- name: bring
-- Inserts memories at free addresses with their own times, in the lock order of puts (by key).
WITH given AS MATERIALIZED (
  SELECT * FROM unnest(%(namespaces)s::text[], %(keys)s::text[], %(values)s::text[],
    %(labels)s::text[],
    %(texts)s::text[], %(sessions)s::text[], %(runs)s::text[], %(created)s::text[],
    %(updated)s::text[],
    %(expires)s::text[], %(ttls)s::float8[]) WITH ORDINALITY
    AS g (namespace, key, value, label, text, session_id, run_id, created_at, updated_at,
      expires_at, ttl_minutes, n)
), last AS (
  SELECT namespace, coalesce((
    SELECT m.position FROM memory.memories AS m WHERE m.namespace COLLATE "POSIX" = d.namespace
    ORDER BY m.position DESC LIMIT 1), 0
  ) AS position
  FROM (SELECT DISTINCT namespace FROM given) AS d
)
INSERT INTO memory.memories (namespace, key, value, document, position, session_id, run_id,
  created_at, updated_at,
  expires_at, ttl_minutes)
SELECT g.namespace, g.key, g.value::jsonb,
  array_to_tsvector(ARRAY['@' || split_part(g.namespace, '.', 1) || '.' || split_part(g.namespace,
    '.', 2)]) ||
    setweight(to_tsvector(%(configuration)s::regconfig, g.label), 'A')
      || to_tsvector(%(configuration)s::regconfig, g.text),
  least(last.position, 1e15::bigint) + row_number() OVER (PARTITION BY g.namespace ORDER BY g.n),
  g.session_id, g.run_id, coalesce(g.created_at::timestamptz, g.updated_at::timestamptz, now()),
  coalesce(g.updated_at::timestamptz, g.created_at::timestamptz, now()), g.expires_at::timestamptz,
  g.ttl_minutes
FROM given AS g JOIN last ON last.namespace = g.namespace
ORDER BY g.namespace COLLATE "C", g.key COLLATE "C"
ON CONFLICT (namespace, key) DO NOTHING
RETURNING id, namespace, key

-- name: bring_vectors
INSERT INTO memory.memory_embeddings (namespace, key, field, model, memory_id, embedding)
SELECT v.namespace, v.key, v.field, %(model)s, v.memory_id, v.embedding
FROM unnest(%(namespaces)s::text[], %(keys)s::text[], %(fields)s::text[], %(memories)s::bigint[],
  %(embeddings)s::halfvec[]) AS v (namespace, key, field, memory_id, embedding)
ORDER BY v.namespace COLLATE "C", v.key COLLATE "C"

-- name: bring_history
-- The earlier versions of memories that were just imported.
INSERT INTO memory.memory_history (memory_id, namespace, key, operation, value, user_id, org_id,
  agent_id, valid_from, valid_to)
SELECT m.id, m.namespace, m.key, v.operation, v.value::jsonb, m.user_id, m.org_id, m.agent_id,
  v.valid_from::timestamptz,
  v.valid_to::timestamptz
FROM unnest(%(memories)s::bigint[], %(operations)s::text[], %(values)s::text[], %(froms)s::text[],
  %(tos)s::text[])
  WITH ORDINALITY AS v (memory_id, operation, value, valid_from, valid_to, n)
JOIN memory.memories AS m ON m.id = ANY (ARRAY[v.memory_id])
ORDER BY v.n

-- name: note
-- The imported memories and their versions at import.
INSERT INTO memory.migrated_memories (migration_id, memory_id, namespace, key, user_id, org_id,
  source_id, version)
SELECT %(id)s::uuid, m.id, m.namespace, m.key, m.user_id, m.org_id, b.source_id, m.updated_at
FROM unnest(%(memories)s::bigint[], %(sources)s::text[]) AS b (memory_id, source_id)
JOIN memory.memories AS m ON m.id = ANY (ARRAY[b.memory_id])

-- name: record
-- One audit record for everything that the transaction stores.
INSERT INTO memory.audit_logs (actor, action, data)
VALUES ('service_role', %(action)s, jsonb_build_object('migration', %(id)s::text, 'source',
  %(source)s::text, 'memories', %(memories)s::bigint))

-- name: still_there
-- The number of imported memories that still exist, changed or not.
SELECT count(*) AS noted, count(m.id) AS there FROM memory.migrated_memories AS b
LEFT JOIN memory.memories AS m ON m.namespace = ANY (ARRAY[b.namespace])
  AND m.key = ANY (ARRAY[b.key]) AND m.id = b.memory_id
WHERE b.migration_id = %(id)s::uuid

-- name: sample
-- A sample of a migration's memories, always the same one.
SELECT b.namespace, m.value FROM (
  SELECT * FROM memory.migrated_memories AS b WHERE b.migration_id = %(id)s::uuid
  ORDER BY md5(b.source_id) LIMIT %(limit)s
) AS b
JOIN memory.memories AS m ON m.namespace = ANY (ARRAY[b.namespace]) AND m.key = ANY (ARRAY[b.key])

-- name: judge
-- What a rollback would do: remove memories that are unchanged and unreferenced. Changed,
-- referenced and `related` ones stay.
SELECT b.memory_id, b.namespace, b.key, coalesce(m.updated_at = b.version, false)
  AND NOT EXISTS (SELECT FROM memory.turns AS r
    WHERE r.namespace = ANY (ARRAY[b.namespace]) AND r.key = ANY (ARRAY[b.key]))
  AND NOT EXISTS (SELECT FROM memory.goal_assessments AS r
    WHERE r.memory_id = ANY (ARRAY[b.memory_id]))
  AND NOT EXISTS (SELECT FROM memory.belief_graphs AS r
    WHERE r.memory_id = ANY (ARRAY[b.memory_id]))
  AND NOT EXISTS (SELECT FROM memory.user_brain AS r WHERE r.memory_id = ANY (ARRAY[b.memory_id]))
  AND NOT EXISTS (SELECT FROM memory.company_brain AS r
    WHERE r.memory_id = ANY (ARRAY[b.memory_id])) AS untouched
FROM memory.migrated_memories AS b
LEFT JOIN LATERAL (
  SELECT * FROM memory.memories AS m
  WHERE m.namespace = ANY (ARRAY[b.namespace]) AND m.key = ANY (ARRAY[b.key]) AND m.id = b.memory_id
  FOR UPDATE
) AS m ON true
WHERE b.migration_id = %(id)s::uuid
ORDER BY b.namespace, b.key

-- name: related
-- The imported memories that have relationships.
SELECT b.memory_id FROM memory.migrated_memories AS b
WHERE b.migration_id = %(id)s::uuid AND (
  EXISTS (SELECT FROM memory.memory_relationships AS r WHERE r.source_id = ANY (ARRAY[b.memory_id]))
  OR EXISTS (SELECT FROM memory.memory_relationships AS r
    WHERE r.target_id = ANY (ARRAY[b.memory_id])))

-- name: remove
WITH given AS MATERIALIZED (
  SELECT * FROM unnest(%(namespaces)s::text[], %(keys)s::text[]) AS g (namespace, key)
), unnoted AS (
  DELETE FROM memory.migrated_memories AS b USING given AS g
  WHERE b.migration_id = %(id)s::uuid AND b.namespace = ANY (ARRAY[g.namespace])
    AND b.key = ANY (ARRAY[g.key])
)
DELETE FROM memory.memories AS m USING given AS g
WHERE m.namespace = ANY (ARRAY[g.namespace]) AND m.key = ANY (ARRAY[g.key])

-- name: remove_history
-- Imported history. Its digests stay, so that audit seals over it still match.
SELECT set_config('memory.erasing', %(certificate)s, true)

-- name: removed_history
WITH gone AS (
  DELETE FROM memory.memory_history AS h
  USING unnest(%(namespaces)s::text[], %(keys)s::text[], %(memories)s::bigint[]) AS g (namespace,
    key, memory_id)
  WHERE h.namespace = ANY (ARRAY[g.namespace]) AND h.key = ANY (ARRAY[g.key])
    AND h.memory_id = g.memory_id
  RETURNING h.id, memory.record_digest(h) AS digest
), kept AS (
  INSERT INTO memory.erased_records (source, id, digest, erasure_id)
  SELECT 'memory_history', g.id, g.digest, %(certificate)s::uuid FROM gone AS g RETURNING 1
)
SELECT count(*) AS gone FROM kept

-- name: certify
-- A certificate of the migration, as for an erasure: it explains the missing records.
WITH made AS (
  INSERT INTO memory.erasures (id, subject, erased, digest, kind)
  SELECT c.id, c.subject, c.erased, memory.erasure_digest(ROW(c.id, c.subject, c.erased, NULL,
    NULL, NULL)::memory.erasures), 'migration'
  FROM (SELECT %(certificate)s::uuid AS id, sha256(convert_to('migration ' || %(id)s::text, 'UTF8'))
    AS subject,
    jsonb_build_object('memory.memory_history', %(gone)s::bigint) AS erased) AS c
  RETURNING *
)
INSERT INTO memory.audit_logs (actor, action, data, event_id)
SELECT 'service_role', 'memory.erased', jsonb_build_object('digest', encode(m.digest, 'hex'),
  'rows', m.erased), m.id
FROM made AS m

-- name: rolled_back
UPDATE memory.migrations SET status = 'rolled_back', updated_at = now(),
  finished_at = coalesce(finished_at, now())
WHERE id = %(id)s::uuid
