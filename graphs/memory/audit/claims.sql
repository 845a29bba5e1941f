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
