-- name: personal_tables
-- All tables that hold rows of users.
SELECT name FROM memory.personal_tables()

-- name: export
-- A page of a user's rows of one table.
SELECT number, content::text AS content
FROM memory.export_rows(%(user_id)s, %(source)s, %(after)s::bigint, %(most)s::int)
