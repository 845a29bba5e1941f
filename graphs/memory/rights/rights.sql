-- name: personal_tables
-- Every table that has rows of people.
SELECT name FROM memory.personal_tables()

-- name: export
-- A person's rows of one table, a page at a time.
SELECT number, content::text AS content
FROM memory.export_rows(%(user_id)s, %(source)s, %(after)s::bigint, %(most)s::int)

-- name: erase
-- Everything about a person goes; a certificate stays.
SELECT id, encode(subject, 'hex') AS subject, erased, encode(digest, 'hex') AS digest, erased_at
FROM memory.erase_user(%(user_id)s)
