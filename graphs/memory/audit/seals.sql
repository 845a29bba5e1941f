-- name: seal
-- Seal a portion of what was recorded since the last time; how many records that were.
SELECT memory.seal_records(%(source)s, %(most)s::int) AS sealed

-- name: head
-- The digest of the last seal, in which all before it are.
SELECT encode(digest, 'hex') AS digest FROM memory.audit_seals ORDER BY id DESC LIMIT 1

-- name: verify
-- What does not fit the seals.
SELECT source, ids, problem FROM memory.verify_records(decode(%(head)s, 'hex'))
