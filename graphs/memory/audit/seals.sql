-- name: seal
-- Seal a portion of the records since the last seal, and return their number.
SELECT memory.seal_records(%(source)s, %(most)s::int) AS sealed

-- name: head
-- The digest of the last seal. It covers all seals before it.
SELECT encode(digest, 'hex') AS digest FROM memory.audit_seals ORDER BY id DESC LIMIT 1

-- name: verify
-- The records and seals that do not match.
SELECT source, ids, problem FROM memory.verify_records(decode(%(head)s, 'hex'))
