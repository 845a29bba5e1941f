-- name: erase
-- Delete everything about a user, and return the certificate that stays.
SELECT id, encode(subject, 'hex') AS subject, erased, encode(digest, 'hex') AS digest, erased_at
FROM memory.erase_user(%(user_id)s)
