-- name: emit
SELECT memory.emit(%(user_id)s, %(intent)s::jsonb)
