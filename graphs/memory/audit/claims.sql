-- name: claim_write
-- Log an accepted payload. No row is returned if the same write was stored before.
INSERT INTO memory.memory_logs (user_id, session_id, agent, type, memories, idempotency_key,
  digest, said_at)
VALUES (%(user_id)s, %(session_id)s, %(agent)s, %(type)s, %(memories)s::jsonb, %(idempotency_key)s,
  %(digest)s, %(said_at)s)
ON CONFLICT (user_id, idempotency_key) DO NOTHING
RETURNING id

-- name: claimed_write
-- The memories and the digest of the earlier write with the same key.
SELECT memories, digest FROM memory.memory_logs WHERE user_id = %(user_id)s
  AND idempotency_key = %(idempotency_key)s
