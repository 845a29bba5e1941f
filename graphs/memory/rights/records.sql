-- name: latest
SELECT a.id, a.at, a.actor, a.action, a.namespace, a.key, a.data, a.thread_id, a.run_id
FROM memory.audit_logs AS a
WHERE a.user_id = %(user_id)s AND (a.at, a.id) < (%(at)s::timestamptz, %(id)s::bigint)
ORDER BY a.at DESC, a.id DESC LIMIT %(most)s
