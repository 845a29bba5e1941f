-- name: log_event
SELECT memory.log_event(%(user_id)s, %(event_type)s, %(data)s::jsonb, %(event_id)s)

-- name: log_late_event
-- Log an event of some seconds ago, unless the person was erased since. Another person whom it is
-- about is left out, if that one was.
SELECT memory.log_event(%(user_id)s, %(event_type)s, CASE
    WHEN memory.was_erased(coalesce(%(data)s::jsonb ->> 'about', ''), %(seconds)s::float8)
    THEN %(data)s::jsonb - 'about' ELSE %(data)s::jsonb END, %(event_id)s)
WHERE %(user_id)s::text IS NULL OR NOT memory.was_erased(%(user_id)s, %(seconds)s::float8)
