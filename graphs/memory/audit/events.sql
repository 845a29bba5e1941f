-- name: log_event
SELECT memory.log_event(%(user_id)s, %(event_type)s, %(data)s::jsonb, %(event_id)s)
