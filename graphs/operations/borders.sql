-- name: lay_out
-- Test rows: a memory of another user, agent knowledge, an organisation with the user as a member
-- and one without.
WITH organisations AS (
  INSERT INTO memory.organisations (id, name)
  VALUES (%(member)s, 'scratch'), (%(closed)s, 'scratch')
), members AS (
  INSERT INTO memory.organisation_members (organisation_id, user_id)
  VALUES (%(member)s, %(user_id)s)
)
INSERT INTO memory.memories (namespace, key, value)
SELECT namespace, %(key)s, '{}' FROM unnest(%(namespaces)s::text[]) AS n (namespace)

-- name: put
INSERT INTO memory.memories (namespace, key, value) VALUES (%(namespace)s, %(key)s, '{}')
RETURNING 1 AS row

-- name: read
SELECT 1 AS row FROM memory.memories WHERE namespace = %(namespace)s AND key = %(key)s

-- name: change
UPDATE memory.memories SET value = '{"changed": true}'
WHERE namespace = %(namespace)s AND key = %(key)s
RETURNING 1 AS row

-- name: delete
DELETE FROM memory.memories WHERE namespace = %(namespace)s AND key = %(key)s
RETURNING 1 AS row

-- name: join_organisation
INSERT INTO memory.organisation_members (organisation_id, user_id) VALUES (%(closed)s, %(user_id)s)
RETURNING 1 AS row

-- name: forge_record
INSERT INTO memory.audit_logs (actor, action, user_id) VALUES (%(user_id)s, 'forged', %(user_id)s)
RETURNING 1 AS row

-- name: remove_records
DELETE FROM memory.audit_logs WHERE user_id = %(user_id)s RETURNING 1 AS row

-- name: read_threads
SELECT 1 AS row FROM langgraph.checkpoints LIMIT 1

-- name: read_jobs
SELECT 1 AS row FROM procrastinate.procrastinate_jobs LIMIT 1
