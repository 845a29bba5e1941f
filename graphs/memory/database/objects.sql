-- name: set_aside
-- Renames the schema, to make room for the one to compare with. It locks no table: other sessions
-- read and write as before, and the old name is back at the end of the transaction.
DO $$
BEGIN
  IF to_regnamespace('memory') IS NOT NULL THEN
    ALTER SCHEMA memory RENAME TO memory_set_aside;
  END IF;
  IF to_regnamespace('procrastinate') IS NOT NULL THEN
    ALTER SCHEMA procrastinate RENAME TO procrastinate_set_aside;
  END IF;
END $$

-- name: qualify_names
-- pg_get_expr and its like omit schemas on the search path: an empty one makes texts comparable.
SELECT set_config('search_path', '', true), {text_formats}

-- name: objects
-- All objects of the schema, with definitions that detect differences. Of procrastinate's queue,
-- only its protection is compared, because a migrated queue has its columns in another order.
WITH spaces AS (
  SELECT oid, nspname AS name FROM pg_namespace WHERE nspname
    IN ('memory', 'public', 'procrastinate')
), tables AS (
  SELECT c.oid, s.name AS space, s.name || '.' || c.relname AS name, c.relacl, c.relowner,
    c.relrowsecurity, c.relforcerowsecurity
  FROM pg_class AS c JOIN spaces AS s ON s.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p') AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = c.oid
    AND d.deptype = 'e')
), functions AS (
  SELECT p.oid, s.name || '.' || p.proname || '(' || pg_get_function_identity_arguments(p.oid)
    || ')' AS name,
    coalesce(p.proacl, acldefault('f', p.proowner)) AS acl
  FROM pg_proc AS p JOIN spaces AS s ON s.oid = p.pronamespace
  WHERE p.prokind IN ('f', 'p') AND s.name <> 'procrastinate'
    AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = p.oid AND d.deptype = 'e')
), access AS (
  SELECT 'schema ' || nspname AS name, nspacl AS acl FROM pg_namespace
  WHERE nspname IN ('memory', 'procrastinate', 'langgraph')
  UNION ALL SELECT name, relacl FROM tables
  UNION ALL SELECT t.name || '.' || a.attname, a.attacl FROM tables AS t JOIN pg_attribute AS a
    ON a.attrelid = t.oid
    WHERE a.attacl IS NOT NULL AND NOT a.attisdropped
  UNION ALL SELECT name, acl FROM functions
  UNION ALL SELECT s.name || '.' || c.relname, c.relacl FROM pg_class AS c JOIN spaces AS s
    ON s.oid = c.relnamespace
    WHERE c.relkind = 'S'
  UNION ALL SELECT format('what comes (%s) in schema %s', d.defaclobjtype, s.name), d.defaclacl
    FROM pg_default_acl AS d JOIN spaces AS s ON s.oid = d.defaclnamespace
    WHERE s.name <> 'public'  -- where Supabase opens whatever comes
)
SELECT 'table' AS kind, name, '' AS definition, true AS valid FROM tables
UNION ALL
SELECT 'row-level security', name, CASE WHEN relrowsecurity THEN 'enabled' ELSE 'disabled' END
  || CASE WHEN relforcerowsecurity THEN ', also for the owner' ELSE '' END, true FROM tables
UNION ALL
SELECT 'column', t.name || '.' || a.attname, concat_ws(' ', format_type(a.atttypid, a.atttypmod),
    'COLLATE ' || nullif(a.attcollation, 0)::regcollation, CASE WHEN a.attnotnull
    THEN 'NOT NULL' END,
    CASE a.attgenerated::text WHEN '' THEN 'DEFAULT ' ELSE 'GENERATED ' END
      || pg_get_expr(d.adbin, d.adrelid),
    'IDENTITY ' || nullif(a.attidentity::text, ''), 'STORAGE ' || a.attstorage::text), true
FROM tables AS t JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum > 0
  AND NOT a.attisdropped
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE t.space <> 'procrastinate'
UNION ALL
SELECT 'constraint', t.name || '.' || c.conname,
  replace(pg_get_constraintdef(c.oid), ' NOT VALID', ''), c.convalidated
FROM tables AS t JOIN pg_constraint AS c ON c.conrelid = t.oid
WHERE c.contype IN ('c', 'f', 'p', 'u', 'x') AND t.space <> 'procrastinate'
UNION ALL
SELECT 'index', t.space || '.' || c.relname, pg_get_indexdef(i.indexrelid), i.indisvalid
  AND i.indisready
FROM tables AS t JOIN pg_index AS i ON i.indrelid = t.oid JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE t.space <> 'procrastinate'
UNION ALL
SELECT 'function', f.name, pg_get_functiondef(f.oid), true FROM functions AS f
UNION ALL
SELECT 'trigger', t.name || '.' || g.tgname, pg_get_triggerdef(g.oid) || ' '
  || g.tgenabled::text, true
FROM tables AS t JOIN pg_trigger AS g ON g.tgrelid = t.oid WHERE NOT g.tgisinternal
  AND t.space <> 'procrastinate'
UNION ALL
SELECT 'policy', t.name || '.' || p.polname,
  concat_ws(' ', CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
    p.polcmd::text, (SELECT string_agg(coalesce(r.rolname, 'PUBLIC'), ', ' ORDER BY r.rolname)
      FROM unnest(p.polroles) AS to_role (oid) LEFT JOIN pg_roles AS r ON r.oid = to_role.oid),
    'USING ' || pg_get_expr(p.polqual, p.polrelid), 'WITH CHECK '
    || pg_get_expr(p.polwithcheck, p.polrelid)), true
FROM tables AS t JOIN pg_policy AS p ON p.polrelid = t.oid
UNION ALL
SELECT 'grant', g.name || ' to ' || g.grantee,
  string_agg(DISTINCT g.privilege_type, ', ' ORDER BY g.privilege_type), true
FROM (
  SELECT a.name, coalesce(r.rolname, 'PUBLIC') AS grantee, e.privilege_type
  FROM access AS a CROSS JOIN LATERAL aclexplode(a.acl) AS e LEFT JOIN pg_roles AS r
    ON r.oid = e.grantee
) AS g
WHERE g.grantee IN ('PUBLIC', 'anon', 'authenticated', 'service_role')
GROUP BY g.name, g.grantee
UNION ALL
SELECT 'comment', concat_ws('.', d.name, a.attname), d.description, true
FROM (
  SELECT t.name, t.oid, 'pg_class'::regclass AS catalogue, o.objsubid, o.description
  FROM tables AS t JOIN pg_description AS o ON o.objoid = t.oid
    AND o.classoid = 'pg_class'::regclass
  UNION ALL
  SELECT f.name, f.oid, 'pg_proc'::regclass, o.objsubid, o.description
  FROM functions AS f JOIN pg_description AS o ON o.objoid = f.oid
    AND o.classoid = 'pg_proc'::regclass
) AS d LEFT JOIN pg_attribute AS a ON d.catalogue = 'pg_class'::regclass AND d.objsubid > 0
  AND a.attrelid = d.oid AND a.attnum = d.objsubid
