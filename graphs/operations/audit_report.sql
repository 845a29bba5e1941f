-- name: tables
-- Tables and views that hold memory or that API roles could reach: row-level security, policies,
-- and the indexes on owner columns that a policy reads. A column generated from the namespace
-- counts as indexed if the namespace is.
WITH relations AS (
  SELECT c.oid, n.nspname::text AS schema, c.relname::text AS name, c.relkind,
    c.relrowsecurity AS protected, c.reloptions
  FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND NOT c.relispartition
    AND (n.nspname IN ('memory', 'langgraph', 'procrastinate', 'public') OR EXISTS (
      SELECT FROM memory.personal_business_tables AS b
      WHERE (b.table_schema, b.table_name) = (n.nspname, c.relname)))
    AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_depend AS d
      WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
), led AS (
  SELECT i.indrelid AS oid, a.attname::text AS first FROM pg_catalog.pg_index AS i
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
  WHERE i.indisvalid
), owners AS (
  SELECT r.oid, a.attname::text AS name, EXISTS (
    SELECT FROM led WHERE led.oid = r.oid AND (led.first = a.attname
      OR (a.attgenerated <> '' AND led.first = 'namespace'))
  ) OR NOT EXISTS (
    SELECT FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_policy AS p ON p.oid = d.objid
    WHERE d.classid = 'pg_catalog.pg_policy'::regclass AND p.polrelid = r.oid
      AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = r.oid
      AND d.refobjsubid = a.attnum
  ) AS indexed
  FROM relations AS r JOIN pg_catalog.pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0
    AND NOT a.attisdropped
  WHERE r.relkind IN ('r', 'p') AND (a.attname IN ('user_id', 'org_id', 'organisation_id',
    'agent_id')
      OR (r.schema = 'memory' AND r.name IN ('users', 'organisations') AND a.attname = 'id'))
    AND a.atttypid IN ('text'::regtype, 'uuid'::regtype)
)
SELECT r.schema, r.name,
  CASE r.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'f'
    THEN 'foreign table' ELSE 'table' END AS kind,
  CASE WHEN r.relkind = 'v' THEN coalesce(
      (SELECT bool_or(o.option_value IN ('true', 'on', '1', 'yes'))
        FROM pg_catalog.pg_options_to_table(r.reloptions) AS o
       WHERE o.option_name = 'security_invoker'), false)
    ELSE r.protected END AS protected,
  (SELECT count(*) FROM pg_catalog.pg_policy AS p WHERE p.polrelid = r.oid) AS policies,
  coalesce((SELECT jsonb_agg(p.polname ORDER BY p.polname) FROM pg_catalog.pg_policy AS p
    WHERE p.polrelid = r.oid AND p.polpermissive
      AND 'true' IN (pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))),
        '[]') AS open_policies,
  coalesce((SELECT jsonb_agg(o.name ORDER BY o.name) FROM owners AS o WHERE o.oid = r.oid),
    '[]') AS owner_columns,
  coalesce((SELECT jsonb_agg(o.name ORDER BY o.name) FROM owners AS o
    WHERE o.oid = r.oid AND NOT o.indexed), '[]') AS unindexed
FROM relations AS r ORDER BY r.schema, r.name

-- name: grants
-- The privileges of the API roles and of PUBLIC on these tables and functions, columns included.
-- A grant is reachable only with USAGE on the schema.
WITH given AS (
  SELECT 'table' AS kind, c.relnamespace AS schema, c.relname::text AS name, e.grantee,
    e.privilege_type AS privilege, c.oid,
    'pg_catalog.pg_class'::regclass AS catalogue
  FROM pg_catalog.pg_class AS c
  CROSS JOIN LATERAL aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) AS e
  WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm')
  UNION ALL
  SELECT 'table', c.relnamespace, c.relname::text, e.grantee,
    e.privilege_type || ' (' || a.attname || ')', c.oid,
    'pg_catalog.pg_class'::regclass
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND NOT a.attisdropped
  CROSS JOIN LATERAL aclexplode(a.attacl) AS e
  WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm')
  UNION ALL
  SELECT 'function', p.pronamespace, p.proname || '(' || pg_get_function_identity_arguments(p.oid)
    || ')', e.grantee,
    e.privilege_type, p.oid, 'pg_catalog.pg_proc'::regclass
  FROM pg_catalog.pg_proc AS p
  CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS e
), named AS (
  SELECT g.*, n.nspname::text AS in_schema, CASE g.grantee WHEN 0 THEN 'PUBLIC'
    ELSE pg_get_userbyid(g.grantee)::text END AS role
  FROM given AS g JOIN pg_catalog.pg_namespace AS n ON n.oid = g.schema
  WHERE n.nspname IN ('memory', 'langgraph', 'procrastinate', 'public')
    OR (g.kind = 'table' AND EXISTS (
    SELECT FROM memory.personal_business_tables AS b
    WHERE (b.table_schema, b.table_name) = (n.nspname, g.name)))
)
SELECT g.role, g.kind, g.in_schema AS schema, g.name, jsonb_agg(DISTINCT g.privilege) AS privileges,
  bool_or(has_schema_privilege(CASE g.role WHEN 'PUBLIC' THEN 'authenticated' ELSE g.role END,
    g.schema, 'USAGE')) AS reachable
FROM named AS g
WHERE g.role IN ('anon', 'authenticated', 'service_role', 'PUBLIC') AND NOT EXISTS (
  SELECT FROM pg_catalog.pg_depend AS d WHERE d.classid = g.catalogue AND d.objid = g.oid
    AND d.deptype = 'e')
GROUP BY 1, 2, 3, 4 ORDER BY 3, 4, 1

-- name: definers
-- SECURITY DEFINER functions, which bypass row-level security, and their own search path.
SELECT n.nspname::text AS schema, p.proname || '(' || pg_get_function_identity_arguments(p.oid)
  || ')' AS name,
  (SELECT substr(setting, length('search_path=') + 1) FROM unnest(p.proconfig) AS setting
   WHERE starts_with(setting, 'search_path=')) AS search_path
FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
WHERE p.prosecdef AND n.nspname IN ('memory', 'langgraph', 'procrastinate', 'public')
  AND NOT EXISTS (
  SELECT FROM pg_catalog.pg_depend AS d
  WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
ORDER BY 1, 2

-- name: privileged_roles
-- API roles that bypass row-level security, other than service_role.
SELECT rolname::text AS role FROM pg_catalog.pg_roles
WHERE rolname IN ('anon', 'authenticated') AND (rolsuper OR rolbypassrls) ORDER BY 1

-- name: denials
-- Refused accesses by actor. The service writes the record, of a second's refusals each; its user_id
-- is the refused user.
SELECT coalesce(user_id, actor) AS actor, sum(coalesce((data ->> 'count')::bigint, 1))::bigint
  AS times, max(at) AS last_at
FROM memory.audit_logs
WHERE action = 'access.denied' AND actor = 'service_role' AND at > now() - %(days)s::float8 * interval '1 day'
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 100

-- name: exports
SELECT actor, user_id, at FROM memory.audit_logs
WHERE action = 'user.export' AND at > now() - %(days)s::float8 * interval '1 day'
ORDER BY at DESC LIMIT 100

-- name: erasures
-- Erasures and their actors. Of the user only the digest is left.
SELECT e.id::text AS id, encode(e.subject, 'hex') AS subject, a.actor, e.erased_at AS at
FROM memory.erasures AS e LEFT JOIN memory.audit_logs AS a ON a.event_id = e.id
WHERE e.kind IS NULL AND e.erased_at > now() - %(days)s::float8 * interval '1 day' ORDER BY e.erased_at DESC LIMIT 100

-- name: readers
-- Actors who read the memory of others: how many others, and how often all users at once.
SELECT actor, count(DISTINCT user_id) AS people,
  count(*) FILTER (WHERE namespace IN ('', 'users.')) AS everybody,
  count(*) AS times, max(at) AS last_at
FROM memory.audit_logs
WHERE action = 'memory.read' AND at > now() - %(days)s::float8 * interval '1 day'
  AND (user_id <> actor OR namespace IN ('', 'users.'))
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 100
