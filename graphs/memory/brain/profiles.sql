-- Profiles of users and organisations. A profile of more than 64 KB of text is returned as NULL.

-- name: one_user
SELECT id, display_name, CASE WHEN octet_length(profile::text) <= 65536 THEN profile::text END
FROM memory.users WHERE id = %(id)s

-- name: one_company
SELECT id, name, CASE WHEN octet_length(profile::text) <= 65536 THEN profile::text END
FROM memory.organisations WHERE id = %(id)s

-- name: after_user
SELECT id, display_name, CASE WHEN octet_length(profile::text) <= 65536 THEN profile::text END
FROM memory.users WHERE id > %(cursor)s ORDER BY id LIMIT %(most)s

-- name: after_company
SELECT id, name, CASE WHEN octet_length(profile::text) <= 65536 THEN profile::text END
FROM memory.organisations WHERE id > %(cursor)s ORDER BY id LIMIT %(most)s

-- name: total_user
SELECT count(*) AS total FROM memory.users WHERE id > ''

-- name: total_company
SELECT count(*) AS total FROM memory.organisations WHERE id > ''
