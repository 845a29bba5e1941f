-- name: erase
-- Everything about a person goes; a certificate stays.
SELECT id, encode(subject, 'hex') AS subject, erased, encode(digest, 'hex') AS digest, erased_at
FROM memory.erase_user(%(user_id)s)
