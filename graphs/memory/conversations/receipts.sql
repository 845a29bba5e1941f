-- name: put
INSERT INTO memory.recall_receipts (actor, user_id, query, chosen, nearly, as_of)
SELECT actor, user_id, query, chosen::jsonb, nearly::jsonb, as_of::timestamptz
FROM unnest(
  %(actors)s::text[], %(user_ids)s::text[], %(queries)s::text[], %(chosen)s::text[],
  %(nearly)s::text[], %(moments)s::text[])
  AS given (actor, user_id, query, chosen, nearly, as_of)

-- name: latest
SELECT at, actor, query, chosen, nearly, session_id, thread_id, run_id, checkpoint_id, as_of
FROM memory.recall_receipts
WHERE user_id = %(user_id)s AND (%(run_id)s::text IS NULL OR run_id = %(run_id)s)
ORDER BY at DESC, id DESC LIMIT %(limit)s
