-- name: personal_tables
-- Every table that has rows of people.
SELECT name FROM memory.personal_tables()

-- name: export
-- A person's rows of one table, a page at a time.
SELECT number, content::text AS content
FROM memory.export_rows(%(user_id)s, %(source)s, %(after)s::bigint, %(most)s::int)
