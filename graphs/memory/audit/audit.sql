-- name: log_event
SELECT memory.log_event(%(user_id)s, %(event_type)s, %(data)s::jsonb, %(event_id)s)

-- name: claim_write
-- One row for each accepted payload. No row comes back if the same write was stored before.
INSERT INTO memory.memory_logs (user_id, session_id, agent, type, memories, idempotency_key, digest, said_at)
VALUES (%(user_id)s, %(session_id)s, %(agent)s, %(type)s, %(memories)s::jsonb, %(idempotency_key)s, %(digest)s,
  %(said_at)s)
ON CONFLICT (user_id, idempotency_key) DO NOTHING
RETURNING id

-- name: claimed_write
-- What an earlier write under the same key became.
SELECT memories, digest FROM memory.memory_logs WHERE user_id = %(user_id)s AND idempotency_key = %(idempotency_key)s

-- name: seal
-- Seal a portion of what was recorded since the last time; how many records that were.
SELECT memory.seal_records(%(source)s, %(most)s::int) AS sealed

-- name: head
-- The digest of the last seal, in which all before it are.
SELECT encode(digest, 'hex') AS digest FROM memory.audit_seals ORDER BY id DESC LIMIT 1

-- name: verify
-- What does not fit the seals.
SELECT source, ids, problem FROM memory.verify_records(decode(%(head)s, 'hex'))

-- name: log_reads
SELECT memory.log_reads(%(reads)s::jsonb)
