-- name: emit
-- Emit an intent: queue a delivery for each adapter that takes it.
SELECT memory.emit(%(user_id)s, %(intent)s::jsonb)
