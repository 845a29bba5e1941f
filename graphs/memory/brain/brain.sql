-- A slug names one memory of a user or of a company. Both have the same statements, on two tables.

-- name: get_user
SELECT b.slug, b.memory_id, m.value, m.created_at, m.updated_at
FROM memory.user_brain AS b JOIN memory.memories AS m ON m.id = ANY (ARRAY[b.memory_id])
WHERE b.user_id = %(owner)s AND b.slug = ANY (%(slugs)s::text[])
  AND (m.expires_at IS NULL OR m.expires_at > now())

-- name: get_company
SELECT b.slug, b.memory_id, m.value, m.created_at, m.updated_at
FROM memory.company_brain AS b JOIN memory.memories AS m ON m.id = ANY (ARRAY[b.memory_id])
WHERE b.org_id = %(owner)s AND b.slug = ANY (%(slugs)s::text[])
  AND (m.expires_at IS NULL OR m.expires_at > now())

-- name: page_user
-- The memories after a slug, in the order of slugs.
SELECT b.slug, b.memory_id, m.value, m.created_at, m.updated_at
FROM memory.user_brain AS b JOIN memory.memories AS m ON m.id = ANY (ARRAY[b.memory_id])
WHERE b.user_id = %(owner)s AND b.slug > %(after)s
  AND (m.expires_at IS NULL OR m.expires_at > now())
ORDER BY b.slug LIMIT %(most)s

-- name: page_company
SELECT b.slug, b.memory_id, m.value, m.created_at, m.updated_at
FROM memory.company_brain AS b JOIN memory.memories AS m ON m.id = ANY (ARRAY[b.memory_id])
WHERE b.org_id = %(owner)s AND b.slug > %(after)s AND (m.expires_at IS NULL OR m.expires_at > now())
ORDER BY b.slug LIMIT %(most)s

-- name: link_user
-- Map slugs to items that this transaction has just stored. It is a separate statement, because it
-- must see items of a concurrent writer that the storing statement waited for. An item is new if it
-- was created at the time of this transaction.
WITH stored AS (
  SELECT m.id, m.key, m.created_at = now() AS created
  FROM unnest(%(slugs)s::text[]) AS s (slug)
  JOIN memory.memories AS m ON m.namespace = ANY (ARRAY[%(namespace)s])
    AND m.key = ANY (ARRAY[s.slug])
), linked AS (
  INSERT INTO memory.user_brain (user_id, slug, memory_id)
  SELECT %(owner)s, key, id FROM stored ORDER BY key COLLATE "C"
  ON CONFLICT (user_id, slug) DO UPDATE SET memory_id = EXCLUDED.memory_id, updated_at = now()
)
SELECT key AS slug, created FROM stored

-- name: link_company
WITH stored AS (
  SELECT m.id, m.key, m.created_at = now() AS created
  FROM unnest(%(slugs)s::text[]) AS s (slug)
  JOIN memory.memories AS m ON m.namespace = ANY (ARRAY[%(namespace)s])
    AND m.key = ANY (ARRAY[s.slug])
), linked AS (
  INSERT INTO memory.company_brain (org_id, slug, memory_id)
  SELECT %(owner)s, key, id FROM stored ORDER BY key COLLATE "C"
  ON CONFLICT (org_id, slug) DO UPDATE SET memory_id = EXCLUDED.memory_id, updated_at = now()
)
SELECT key AS slug, created FROM stored

-- name: companies
-- The organisations that a user has accepted, as far as the principal may see them.
SELECT organisation_id FROM memory.organisation_members
WHERE user_id = %(user_id)s AND accepted_at IS NOT NULL
ORDER BY organisation_id
