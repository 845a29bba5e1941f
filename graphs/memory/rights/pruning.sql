-- name: begin_erasing
-- Records may only be deleted under a certificate.
SELECT set_config('memory.erasing', %(certificate)s, true)

-- name: prune_history
-- Erase a portion of the history: versions of memories that expired, turns after their retention,
-- and versions that ended long ago. Their digests stay. A mark of an expiry goes after the versions
-- before it.
WITH old AS (
  (SELECT h.id FROM memory.memory_history AS e JOIN memory.memory_history AS h
    ON h.namespace = ANY (ARRAY[e.namespace]) AND h.key = ANY (ARRAY[e.key])
    AND h.memory_id = e.memory_id AND h.id <= e.id
  WHERE e.expired ORDER BY h.id LIMIT %(most)s)
  UNION
  (SELECT h.id FROM memory.memory_history AS h
  WHERE %(turn_days)s::float8 > 0 AND h.value ->> 'type' = 'turn'
    AND h.valid_from < now() - %(turn_days)s::float8 * interval '1 day' LIMIT %(most)s)
  UNION
  (SELECT h.id FROM memory.memory_history AS h
  WHERE %(days)s::float8 > 0 AND h.valid_to < now() - %(days)s::float8 * interval '1 day'
  LIMIT %(most)s)
), gone AS (
  DELETE FROM memory.memory_history AS h USING old WHERE h.id = old.id
  RETURNING h.id, memory.record_digest(h) AS digest
), kept AS (
  INSERT INTO memory.erased_records (source, id, digest, erasure_id)
  SELECT 'memory_history', g.id, g.digest, %(certificate)s::uuid FROM gone AS g RETURNING 1
)
SELECT count(*) AS gone FROM kept

-- name: prune_vectors
-- Vectors of versions that ended long ago. The versions stay, and are found by their words.
WITH old AS (
  SELECT e.history_id, e.model, e.field FROM memory.memory_history AS h
  JOIN memory.history_embeddings AS e ON e.history_id = ANY (ARRAY[h.id])
  WHERE h.valid_to < now() - %(days)s::float8 * interval '1 day' LIMIT %(most)s
), gone AS (
  DELETE FROM memory.history_embeddings AS e USING old
  WHERE (e.history_id, e.model, e.field) = (old.history_id, old.model, old.field) RETURNING 1
)
SELECT count(*) AS gone FROM gone

-- name: prune_rows
-- Earlier rows beside memories, such as relationships, that ended long ago.
WITH old AS (
  SELECT r.id FROM memory.row_history AS r
  WHERE r.valid_to < now() - %(days)s::float8 * interval '1 day' LIMIT %(most)s
), gone AS (
  DELETE FROM memory.row_history AS r USING old WHERE r.id = old.id RETURNING 1
)
SELECT count(*) AS gone FROM gone

-- name: prune_runs
-- Runs that began long ago, that no session goes on from, and that no earlier version needs to tell
-- whether it counts.
WITH old AS (
  SELECT r.run_id FROM memory.runs AS r
  WHERE r.began_at < now() - %(days)s::float8 * interval '1 day'
    AND NOT EXISTS (SELECT FROM memory.sessions AS s
      WHERE (s.user_id, s.id, s.head_run) = (r.user_id, r.session_id, r.run_id))
    AND NOT EXISTS (SELECT FROM memory.memory_history AS h WHERE h.run_id = r.run_id)
    AND NOT EXISTS (SELECT FROM memory.memory_history AS h WHERE h.ended_by = r.run_id)
  LIMIT %(most)s
), gone AS (
  DELETE FROM memory.runs AS r USING old WHERE r.run_id = old.run_id RETURNING 1
)
SELECT count(*) AS gone FROM gone

-- name: prune_audit
-- Erase a portion of the audit log, and keep the digests. Records of erasures stay: they explain
-- the records that are missing.
WITH old AS (
  SELECT a.id FROM memory.audit_logs AS a
  WHERE a.at < now() - %(days)s::float8 * interval '1 day' AND a.action <> 'memory.erased'
  LIMIT %(most)s
), gone AS (
  DELETE FROM memory.audit_logs AS a USING old WHERE a.id = old.id
  RETURNING a.id, memory.record_digest(a) AS digest
), kept AS (
  INSERT INTO memory.erased_records (source, id, digest, erasure_id)
  SELECT 'audit_logs', g.id, g.digest, %(certificate)s::uuid FROM gone AS g RETURNING 1
)
SELECT count(*) AS gone FROM kept

-- name: certify
-- A certificate of the portion, unless nothing was erased.
SELECT memory.certify_erasure(ROW(%(certificate)s::uuid, sha256('retention'),
  jsonb_object_agg('memory.' || c.source, c.records), NULL, NULL, 'retention')::memory.erasures,
  'service_role')
FROM (SELECT source, count(*) AS records FROM memory.erased_records
  WHERE erasure_id = %(certificate)s::uuid GROUP BY 1) AS c
HAVING count(*) > 0

-- name: blank_receipts
-- Remove the queries of receipts whose other content decay still needs.
WITH old AS (
  SELECT r.id FROM memory.recall_receipts AS r
  WHERE r.at < now() - %(days)s::float8 * interval '1 day' AND r.query <> '' LIMIT %(most)s
), blanked AS (
  UPDATE memory.recall_receipts AS r SET query = '' FROM old WHERE r.id = old.id RETURNING 1
)
SELECT count(*) AS gone FROM blanked

-- name: prune_receipts
WITH old AS (
  SELECT r.id FROM memory.recall_receipts AS r
  WHERE r.at < now() - %(days)s::float8 * interval '1 day' LIMIT %(most)s
), gone AS (
  DELETE FROM memory.recall_receipts AS r USING old WHERE r.id = old.id RETURNING 1
)
SELECT count(*) AS gone FROM gone

-- name: prune_comparisons
WITH old AS (
  SELECT c.id FROM memory.shadow_comparisons AS c
  WHERE c.at < now() - %(days)s::float8 * interval '1 day' LIMIT %(most)s
), gone AS (
  DELETE FROM memory.shadow_comparisons AS c USING old WHERE c.id = old.id RETURNING 1
)
SELECT count(*) AS gone FROM gone

-- name: prune_deliveries
-- Deliveries that ended. The last one under each pseudonym stays: the erasure of the person learns
-- from it where something went.
WITH old AS (
  SELECT d.id FROM memory.deliveries AS d
  WHERE d.created_at < now() - %(days)s::float8 * interval '1 day'
    AND d.status IN ('delivered', 'skipped')
    AND (d.pseudonym IS NULL OR d.user_id IS NULL OR EXISTS (
      SELECT FROM memory.deliveries AS later
      WHERE later.user_id = d.user_id AND later.adapter = d.adapter
        AND later.pseudonym = d.pseudonym
        AND (later.created_at, later.id) > (d.created_at, d.id)))
  ORDER BY d.created_at LIMIT %(most)s
), gone AS (
  DELETE FROM memory.deliveries AS d USING old WHERE d.id = old.id RETURNING 1
)
SELECT count(*) AS gone FROM gone

-- name: prune_executions
WITH old AS (
  SELECT x.user_id, x.run_id, x.agent FROM memory.agent_executions AS x
  WHERE x.started_at < now() - %(days)s::float8 * interval '1 day' LIMIT %(most)s
), gone AS (
  DELETE FROM memory.agent_executions AS x USING old
  WHERE (x.user_id, x.run_id, x.agent) = (old.user_id, old.run_id, old.agent) RETURNING 1
)
SELECT count(*) AS gone FROM gone

-- name: prune_writes
WITH old AS (
  SELECT l.id FROM memory.memory_logs AS l
  WHERE l.created_at < now() - %(days)s::float8 * interval '1 day' LIMIT %(most)s
), gone AS (
  DELETE FROM memory.memory_logs AS l USING old WHERE l.id = old.id RETURNING 1
)
SELECT count(*) AS gone FROM gone
