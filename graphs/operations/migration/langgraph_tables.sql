-- The tables of LangGraph's AsyncPostgresStore, in its own database. Everything that this project
-- adds lies in one schema, graph_memory_migration, and is dropped with it.

-- name: look_there
-- Sets the tables' search path, and makes row-level security raise an error instead of hiding rows.
-- Long reads are allowed. Locks time out, because other writers would queue behind a waiting one.
SELECT set_config('search_path', quote_ident(%(schema)s) || ', extensions, public', true),
  set_config('row_security', 'off', true),
  set_config('lock_timeout', '1s', true), set_config('statement_timeout', '0', true), {text_formats}

-- name: describe
-- Existence and version of the tables, and the rights of this role. A vector's type modifier is its
-- dimensions. The identity adds oids to the name, since two databases may have the same name.
SELECT current_user AS role, current_database() AS database, store.oid IS NOT NULL AS is_there,
  format('%s-%s-%s', (SELECT oid FROM pg_database WHERE datname = current_database()),
    store.oid::oid,
    (SELECT xmin FROM pg_attribute WHERE attrelid = store.oid AND attnum = 1)) AS identity,
  coalesce(has_table_privilege(store.oid, 'SELECT')
    AND coalesce(has_table_privilege(vectors.oid, 'SELECT'), true), false)
    AS may_read,
  coalesce(has_table_privilege(store.oid, 'TRIGGER')
    AND has_database_privilege(current_database(), 'CREATE'), false)
    AS may_follow,
  EXISTS (SELECT FROM pg_attribute WHERE attrelid = store.oid
    AND attname = 'ttl_minutes') AS is_current,
  (SELECT atttypmod FROM pg_attribute WHERE attrelid = vectors.oid
    AND attname = 'embedding') AS dimensions
FROM (SELECT to_regclass(quote_ident(%(schema)s) || '.store') AS oid) AS store,
  (SELECT to_regclass(quote_ident(%(schema)s) || '.store_vectors') AS oid) AS vectors

-- name: count
SELECT count(*) AS items FROM store WHERE expires_at IS NULL OR expires_at > now()

-- name: addresses
-- The page after an address, in the order of the primary key.
SELECT prefix, key FROM store WHERE (prefix, key) > (%(prefix)s, %(key)s)
ORDER BY prefix, key LIMIT %(limit)s

-- name: place
-- The address of a digest: the cursor of a migration is stored elsewhere and must name nobody.
SELECT prefix, key FROM store
WHERE encode(sha256(convert_to(length(prefix) || ':' || prefix || key, 'UTF8')), 'hex') = %(digest)s

-- name: items
-- The unexpired items at some addresses.
SELECT s.prefix, s.key, s.value::text AS value, s.created_at, s.updated_at, s.expires_at,
  s.ttl_minutes
FROM unnest(%(prefixes)s::text[], %(keys)s::text[]) WITH ORDINALITY AS w (prefix, key, n)
JOIN store AS s ON s.prefix = ANY (ARRAY[w.prefix]) AND s.key = ANY (ARRAY[w.key])
WHERE s.expires_at IS NULL OR s.expires_at > now()
ORDER BY w.n

-- name: items_and_vectors
-- The same with the fields that have vectors and, if wanted, the vectors stored together with the
-- value. A put without vectors leaves old ones behind.
SELECT s.prefix, s.key, s.value::text AS value, s.created_at, s.updated_at, s.expires_at,
  s.ttl_minutes, v.fields, v.vectors
FROM unnest(%(prefixes)s::text[], %(keys)s::text[]) WITH ORDINALITY AS w (prefix, key, n)
JOIN store AS s ON s.prefix = ANY (ARRAY[w.prefix]) AND s.key = ANY (ARRAY[w.key])
CROSS JOIN LATERAL (
  SELECT array_agg(field_name ORDER BY field_name) AS fields,
    array_agg(embedding::text ORDER BY field_name) FILTER (WHERE %(vectors)s
      AND updated_at = s.updated_at) AS vectors
  FROM store_vectors WHERE prefix = s.prefix AND key = s.key
) AS v
WHERE s.expires_at IS NULL OR s.expires_at > now()
ORDER BY w.n

-- name: follow
-- Queues every change from the commit on; creating the trigger waits for running writers. A change
-- has an address and no value, so that applying it late or twice has the same result.
DO $do$ BEGIN
  IF to_regnamespace('graph_memory_migration') IS NOT NULL THEN RETURN; END IF;
  CREATE SCHEMA graph_memory_migration;
  REVOKE ALL ON SCHEMA graph_memory_migration FROM PUBLIC;
  COMMENT ON SCHEMA graph_memory_migration IS
    'Made by `graph-memory migrate langgraph-store --follow`, '
    'removed by `graph-memory migrate rollback`.';
  CREATE TABLE graph_memory_migration.changes (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    prefix text NOT NULL,
    key    text NOT NULL
  );
  CREATE TABLE graph_memory_migration.moved (at timestamptz NOT NULL DEFAULT now());
  ALTER TABLE graph_memory_migration.changes ENABLE ROW LEVEL SECURITY;
  ALTER TABLE graph_memory_migration.moved ENABLE ROW LEVEL SECURITY;
  -- SECURITY DEFINER, so that writers of items need no rights on this schema.
  CREATE FUNCTION graph_memory_migration.note_change() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
  AS $f$ BEGIN
    IF TG_OP = 'TRUNCATE' THEN
      EXECUTE format(
        'INSERT INTO graph_memory_migration.changes (prefix, key) '
        'SELECT prefix, key FROM %I.store', TG_TABLE_SCHEMA);
      RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
      INSERT INTO graph_memory_migration.changes (prefix, key) VALUES (OLD.prefix, OLD.key);
    END IF;
    IF TG_OP = 'INSERT' OR TG_OP = 'UPDATE' AND (NEW.prefix, NEW.key) <> (OLD.prefix, OLD.key) THEN
      INSERT INTO graph_memory_migration.changes (prefix, key) VALUES (NEW.prefix, NEW.key);
    END IF;
    RETURN NULL;
  END $f$;
  REVOKE ALL ON FUNCTION graph_memory_migration.note_change() FROM PUBLIC;
  CREATE TRIGGER graph_memory_followed AFTER INSERT OR UPDATE OR DELETE ON store
    FOR EACH ROW EXECUTE FUNCTION graph_memory_migration.note_change();
  CREATE TRIGGER graph_memory_followed_truncate BEFORE TRUNCATE ON store
    FOR EACH STATEMENT EXECUTE FUNCTION graph_memory_migration.note_change();
END $do$

-- name: is_followed
-- Whether changes of these tables are queued, and whether writes are refused.
SELECT coalesce(bool_or(tgname = 'graph_memory_followed'), false) AS followed,
  coalesce(bool_or(tgname = 'graph_memory_stopped'), false) AS stopped
FROM pg_trigger WHERE tgrelid = to_regclass(quote_ident(%(schema)s) || '.store')

-- name: changes
-- The oldest visible changes. A change with a lower id may become visible later, if its transaction
-- commits later. So applied changes are deleted by id, and never by "up to id".
SELECT prefix, key, array_agg(id) AS ids
FROM (SELECT * FROM graph_memory_migration.changes ORDER BY id LIMIT %(limit)s) AS oldest
GROUP BY prefix, key

-- name: forget_changes
DELETE FROM graph_memory_migration.changes WHERE id = ANY (%(ids)s::bigint[])

-- name: lag
-- The number of queued changes and the age of the oldest in seconds.
SELECT count(*) AS changes, coalesce(extract(epoch FROM clock_timestamp() - min(at)),
  0)::float8 AS seconds
FROM graph_memory_migration.changes

-- name: stop_writes
-- Creating the trigger waits for running writers. Later writers get an error: to retry while the
-- switch is undecided, permanent once the items have moved. Housekeeping has no effect and raises
-- no error: reads that extend an expiry, and the sweeper of expired items.
DO $do$ BEGIN
  IF to_regprocedure('graph_memory_migration.refuse_write()') IS NOT NULL THEN RETURN; END IF;
  CREATE FUNCTION graph_memory_migration.refuse_write() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
  AS $f$ BEGIN
    IF TG_OP = 'UPDATE' THEN
      IF NEW.value = OLD.value AND NEW.updated_at = OLD.updated_at
        AND (NEW.prefix, NEW.key) = (OLD.prefix, OLD.key) THEN
        RETURN NULL;
      END IF;
    ELSIF TG_OP = 'DELETE' THEN
      IF OLD.expires_at <= now() THEN RETURN NULL; END IF;
    END IF;
    IF EXISTS (SELECT FROM graph_memory_migration.moved) THEN
      RAISE EXCEPTION
        'This store takes no more writes: its items have moved to Graph-Native Memory.'
        USING ERRCODE = 'read_only_sql_transaction',
          HINT = 'Write there, with MemoryManager.from_conn_string.';
    END IF;
    RAISE EXCEPTION
      'This store takes no writes for a moment: its items are moving to Graph-Native Memory.'
      USING ERRCODE = 'cannot_connect_now', HINT = 'Try again in a second.';
  END $f$;
  REVOKE ALL ON FUNCTION graph_memory_migration.refuse_write() FROM PUBLIC;
  CREATE TRIGGER graph_memory_stopped BEFORE INSERT OR UPDATE OR DELETE ON store
    FOR EACH ROW EXECUTE FUNCTION graph_memory_migration.refuse_write();
  CREATE TRIGGER graph_memory_stopped_truncate BEFORE TRUNCATE ON store
    FOR EACH STATEMENT EXECUTE FUNCTION graph_memory_migration.refuse_write();
END $do$

-- name: moved
INSERT INTO graph_memory_migration.moved SELECT
WHERE NOT EXISTS (SELECT FROM graph_memory_migration.moved)

-- name: open_writes
DO $do$ BEGIN
  IF to_regnamespace('graph_memory_migration') IS NULL THEN RETURN; END IF;
  DELETE FROM graph_memory_migration.moved;
  DROP FUNCTION IF EXISTS graph_memory_migration.refuse_write() CASCADE;
END $do$

-- name: unfollow
DROP SCHEMA IF EXISTS graph_memory_migration CASCADE

-- name: moment
SELECT clock_timestamp()::text AS at

-- name: prefixes
-- The page of prefixes after one, by a loose index scan: one index probe per prefix.
WITH RECURSIVE found (prefix) AS (
  (SELECT prefix FROM store WHERE prefix > %(after)s ORDER BY prefix LIMIT 1)
  UNION ALL
  SELECT (SELECT s.prefix FROM store AS s WHERE s.prefix > found.prefix ORDER BY s.prefix LIMIT 1)
  FROM found WHERE found.prefix IS NOT NULL
)
SELECT prefix FROM found WHERE prefix IS NOT NULL LIMIT %(limit)s

-- name: digest
-- The number of items under some namespaces and a checksum over them: independent of the order, and
-- the same in the store.
SELECT count(*) AS items, coalesce(sum(('x' || left(md5(jsonb_build_array(n.namespace, s.key,
  s.value,
  to_char(s.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'),
  to_char(s.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'),
  to_char(s.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), s.ttl_minutes)::text),
    15))::bit(60)::bigint), 0)::text AS digest
FROM unnest(%(prefixes)s::text[], %(namespaces)s::text[]) AS n (prefix, namespace)
JOIN store AS s ON s.prefix = ANY (ARRAY[n.prefix])
WHERE s.expires_at IS NULL OR s.expires_at > %(at)s::timestamptz

-- name: search
-- The nearest items whose namespace matches a pattern, as AsyncPostgresStore ranks them (cosine).
SELECT prefix, key FROM (
  SELECT DISTINCT ON (v.prefix, v.key) v.prefix, v.key,
    v.embedding::real[]::vector <=> %(vector)s::vector AS distance
  FROM store_vectors AS v JOIN store AS s ON s.prefix = v.prefix AND s.key = v.key
  WHERE v.prefix ~ %(pattern)s AND (s.expires_at IS NULL OR s.expires_at > now())
  ORDER BY v.prefix, v.key, distance
) AS nearest ORDER BY distance LIMIT %(limit)s
