-- name: put
-- Insert the row of an uploaded file.
INSERT INTO memory.files (id, user_id, session_id, bucket, path, media_type, bytes, sha256,
  metadata)
VALUES (%(id)s, %(user_id)s, %(session_id)s, %(bucket)s, %(path)s, %(media_type)s, %(bytes)s,
  %(sha256)s, %(metadata)s::jsonb)
RETURNING id, user_id, session_id, bucket, path, media_type, bytes, sha256, metadata, created_at

-- name: list
-- A user's files, of one session or of all, the latest first.
SELECT id, user_id, session_id, bucket, path, media_type, bytes, sha256, metadata, created_at
FROM memory.files
WHERE user_id = %(user_id)s AND (%(session_id)s::text IS NULL OR session_id = %(session_id)s)
ORDER BY created_at DESC, id

-- name: get
SELECT id, user_id, session_id, bucket, path, media_type, bytes, sha256, metadata, created_at
FROM memory.files
WHERE user_id = %(user_id)s AND id = %(id)s::uuid

-- name: delete
-- Delete the row. Run it after Storage has removed the content.
DELETE FROM memory.files WHERE user_id = %(user_id)s AND id = %(id)s::uuid
