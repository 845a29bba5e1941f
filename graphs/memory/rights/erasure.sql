-- name: erase
-- Delete everything about a user, and return the certificate that stays.
SELECT id, encode(subject, 'hex') AS subject, erased, encode(digest, 'hex') AS digest, erased_at
FROM memory.erase_user(%(user_id)s, %(elsewhere)s::jsonb)

-- name: erase_memory
-- Erase a memory for good. No row is returned if there is none.
SELECT id, encode(subject, 'hex') AS subject, erased, encode(digest, 'hex') AS digest, erased_at
FROM memory.erase_memory(%(namespace)s, %(key)s, %(expected)s::timestamptz) WHERE id IS NOT NULL
