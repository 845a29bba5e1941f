-- name: begin_reading
-- A read-only snapshot of one moment.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY

-- name: prepare
-- The same text format on every server, and no time limits. Where policies would hide rows, fail.
SELECT set_config('role', 'none', true), set_config('search_path',
  'pg_catalog, memory, extensions, public', true),
  {text_formats},
  set_config('row_security', 'off', true),
  set_config('statement_timeout', '0', true), set_config('lock_timeout', '60s', true),
  set_config('idle_in_transaction_session_timeout', '0', true)

-- name: moment
-- The current time and transaction ids. Every transaction that this snapshot does not see has the
-- id `horizon` or a higher one, subtransactions included. Ids are comparable only within one
-- database: its identifier has the server, its timeline and the database's oid.
SELECT now() AS now, pg_snapshot_xmin(s)::text::bigint AS horizon,
  pg_snapshot_xmax(s)::text::bigint AS next,
  format('%s/%s/%s', (SELECT system_identifier FROM pg_control_system()),
    left(pg_walfile_name(pg_current_wal_insert_lsn()), 8),
    (SELECT oid FROM pg_database WHERE datname = current_database())) AS database
FROM pg_current_snapshot() AS s

-- name: horizon_at
-- An id below which every transaction had ended at some time, provided that none lasts a day: the
-- horizon of a seal at least a day older. Seals from another server, brought by a restore, cannot
-- count for more than the restore itself.
SELECT coalesce(max(least(s.horizon::text::bigint,
  {next} - (({next} - s.xmin::text::bigint) & 4294967295))), 0) AS horizon
FROM memory.audit_seals AS s
WHERE s.sealed_at = (SELECT max(e.sealed_at) FROM memory.audit_seals AS e
  WHERE e.sealed_at <= {moment}::timestamptz - interval '1 day')

-- name: erasures
SELECT count(*) AS count, md5(coalesce(string_agg(e.id::text, '' ORDER BY e.id), '')) AS digest
FROM memory.erasures AS e WHERE e.kind IS DISTINCT FROM 'retention'

-- name: tables
-- The tables that hold data: those of the schema, except for state of this database and its queue,
-- personal business tables, and the tables that these reference.
WITH RECURSIVE kept AS (
  SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND (
    n.nspname = 'memory' AND c.relname NOT IN ('schema_versions', 'job_migrations', 'job_failures',
      'deleted_runs', 'brain_loads', 'brain_load_errors', 'personal_business_tables')
    OR EXISTS (SELECT FROM memory.personal_business_tables AS b
      WHERE (b.table_schema, b.table_name) = (n.nspname, c.relname)))
  UNION
  SELECT c.oid FROM kept JOIN pg_constraint AS f ON f.contype = 'f' AND f.conrelid = kept.oid
  JOIN pg_class AS c ON c.oid = f.confrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
  WHERE n.nspname NOT IN ('memory', 'auth', 'storage')
)
SELECT n.nspname AS schema, c.relname AS name,
  array_agg(a.attname::text ORDER BY a.attnum) AS columns,
  coalesce(array_agg(a.attname::text) FILTER (WHERE a.attgenerated <> ''), '{}') AS generated,
  coalesce(min(p.columns), '{}') AS personal,
  (SELECT jsonb_build_object('columns', coalesce(array_agg(k.attname ORDER BY w.n), '{}'),
    'numbered', min(k.atttypid) = 'bigint'::regtype AND count(*) = 1)
    FROM (
      SELECT i.indkey FROM pg_index AS i JOIN pg_attribute AS f ON f.attrelid = c.oid
        AND f.attnum = i.indkey[0]
      WHERE i.indrelid = c.oid AND i.indisunique AND i.indimmediate AND i.indisvalid
        AND i.indpred IS NULL AND i.indexprs IS NULL
        AND i.indnatts = i.indnkeyatts AND NOT EXISTS (
          SELECT FROM pg_attribute AS n WHERE n.attrelid = c.oid AND n.attnum = ANY (i.indkey)
            AND NOT n.attnotnull)
      ORDER BY i.indnatts = 1 AND f.atttypid = 'bigint'::regtype DESC, i.indisprimary DESC,
        i.indexrelid LIMIT 1) AS best
    CROSS JOIN unnest(best.indkey) WITH ORDINALITY AS w (attnum, n)
    JOIN pg_attribute AS k ON k.attrelid = c.oid AND k.attnum = w.attnum) AS key,
  coalesce(jsonb_object_agg(a.attname,
    pg_sequence_last_value(pg_get_serial_sequence(c.oid::regclass::text, a.attname)::regclass))
    FILTER (WHERE pg_get_serial_sequence(c.oid::regclass::text, a.attname) IS NOT NULL),
    '{}') AS last_numbers,
  coalesce((
    SELECT jsonb_agg(jsonb_build_object('schema', pn.nspname, 'name', parent.relname,
      'columns', (SELECT jsonb_agg(k.attname ORDER BY w.n)
        FROM unnest(f.conkey) WITH ORDINALITY AS w (attnum, n)
        JOIN pg_attribute AS k ON k.attrelid = f.conrelid AND k.attnum = w.attnum),
      'parents', (SELECT jsonb_agg(k.attname ORDER BY w.n)
        FROM unnest(f.confkey) WITH ORDINALITY AS w (attnum, n)
        JOIN pg_attribute AS k ON k.attrelid = f.confrelid AND k.attnum = w.attnum))
          ORDER BY f.conname)
    FROM pg_constraint AS f JOIN pg_class AS parent ON parent.oid = f.confrelid
    JOIN pg_namespace AS pn ON pn.oid = parent.relnamespace
    WHERE f.contype = 'f' AND f.conrelid = c.oid AND f.confrelid <> c.oid), '[]') AS foreign_keys
FROM kept JOIN pg_class AS c ON c.oid = kept.oid JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN memory.personal_tables() AS p ON p.name = format('%%I.%%I', n.nspname, c.relname)
GROUP BY n.nspname, c.relname, c.oid
ORDER BY 1, 2

-- name: read
COPY (SELECT {columns} FROM {table} AS t WHERE {condition}) TO STDOUT

-- name: read_ranges
-- Consecutive numbers have the same difference from their rank.
COPY (
  SELECT min(t.key), max(t.key) FROM (
    SELECT t.{key} AS key, t.{key} - row_number() OVER (ORDER BY t.{key}) AS island
    FROM {table} AS t WHERE {condition}) AS t
  GROUP BY t.island ORDER BY 1
) TO STDOUT

-- name: is_changed
-- xmin has the lower 32 bits of the writing transaction's id: take the latest id that matches.
{next} - (({next} - t.xmin::text::bigint) & 4294967295) >= {horizon}

-- name: lock
-- Readers continue; writers wait for the restore, because triggers are disabled.
LOCK TABLE {tables} IN SHARE ROW EXCLUSIVE MODE

-- name: triggers
-- The enabled triggers on writes.
SELECT n.nspname AS schema, c.relname AS name, g.tgname AS trigger FROM pg_trigger AS g
JOIN pg_class AS c ON c.oid = g.tgrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT g.tgisinternal AND g.tgenabled = 'O'

-- name: disable_trigger
ALTER TABLE {table} DISABLE TRIGGER {trigger}

-- name: enable_trigger
ALTER TABLE {table} ENABLE TRIGGER {trigger}

-- name: stage
-- Generation 0 is the last backup of a chain.
CREATE TEMP TABLE backup_staged ON COMMIT DROP AS SELECT {columns}, 0::smallint AS backup_generation
  FROM {table} WITH NO DATA

-- name: fill
COPY pg_temp.backup_staged ({columns}, backup_generation) FROM STDIN

-- name: unstage
DROP TABLE pg_temp.backup_staged

-- name: stage_keys
CREATE TEMP TABLE backup_keys ON COMMIT DROP AS SELECT {columns} FROM {table} WITH NO DATA

-- name: stage_ranges
CREATE TEMP TABLE backup_keys (first bigint NOT NULL, last bigint NOT NULL) ON COMMIT DROP

-- name: fill_keys
COPY pg_temp.backup_keys FROM STDIN

-- name: unstage_keys
DROP TABLE pg_temp.backup_keys

-- name: leave_latest
-- The latest version of each row counts, …
DELETE FROM pg_temp.backup_staged AS s USING pg_temp.backup_staged AS later
WHERE ({keys}) = ({later}) AND later.backup_generation < s.backup_generation

-- name: leave_present
-- … if the row still existed at the last moment.
DELETE FROM pg_temp.backup_staged AS s WHERE s.backup_generation > 0
  AND NOT EXISTS (SELECT FROM pg_temp.backup_keys AS k WHERE ({present}) = ({keys}))

-- name: leave_in_ranges
DELETE FROM pg_temp.backup_staged AS s WHERE s.backup_generation > 0
  AND ({keys} <@ (SELECT range_agg(int8range(k.first, k.last, '[]'))
    FROM pg_temp.backup_keys AS k)) IS NOT TRUE

-- name: leave_last
-- For tables without a key, the last backup has all rows.
DELETE FROM pg_temp.backup_staged WHERE backup_generation > 0

-- name: erased_present
-- Whether a user is here whose erasure is only recorded elsewhere.
SELECT EXISTS (
  SELECT FROM {table} AS t JOIN pg_temp.backup_staged AS s
    ON s.subject = sha256(convert_to(t.{column}, 'UTF8'))
  WHERE NOT EXISTS (SELECT FROM memory.erasures AS e WHERE e.id = s.id)) AS present

-- name: note_erased
-- Users erased after the backup: those whose certificates it does not have.
CREATE TEMP TABLE backup_erased ON COMMIT DROP AS
  SELECT DISTINCT e.subject FROM memory.erasures AS e
  WHERE e.kind IS NULL AND ({subject}::text IS NULL OR e.subject = sha256(convert_to({subject}, 'UTF8')))
    AND NOT EXISTS (SELECT FROM pg_temp.backup_staged AS s WHERE s.id = e.id)

-- name: count_erased
SELECT count(*) AS erased FROM pg_temp.backup_erased

-- name: reserve_models
SELECT setval(pg_get_serial_sequence('memory.embedding_models', 'id'), greatest(max(s.id),
  pg_sequence_last_value(pg_get_serial_sequence('memory.embedding_models', 'id')::regclass), 1))
    FROM pg_temp.backup_staged AS s

-- name: add_models
-- An active model of this database stays the active one. A taken id is replaced by the next one.
INSERT INTO memory.embedding_models (id, name, dimensions, active,
  created_at) OVERRIDING SYSTEM VALUE
SELECT CASE WHEN EXISTS (SELECT FROM memory.embedding_models AS m WHERE m.id = s.id)
    THEN nextval(pg_get_serial_sequence('memory.embedding_models', 'id')) ELSE s.id END,
  s.name, s.dimensions, s.active AND NOT EXISTS (SELECT FROM memory.embedding_models AS m
    WHERE m.active), s.created_at
FROM pg_temp.backup_staged AS s
WHERE NOT EXISTS (SELECT FROM memory.embedding_models AS m
  WHERE (m.name, m.dimensions) = (s.name, s.dimensions))

-- name: note_models
-- The ids here of the backup's models.
CREATE TEMP TABLE backup_models ON COMMIT DROP AS
  SELECT s.id AS there, m.id AS here FROM pg_temp.backup_staged AS s
  JOIN memory.embedding_models AS m ON (m.name, m.dimensions) = (s.name, s.dimensions)

-- name: note_current
-- Memories whose version here is the backup's, so that its vectors belong to them.
CREATE TEMP TABLE backup_current ON COMMIT DROP AS
  SELECT m.id FROM pg_temp.backup_staged AS s
  JOIN memory.memories AS m ON (m.id, m.updated_at) = (s.id, s.updated_at)

-- name: index_current
ALTER TABLE pg_temp.backup_current ADD PRIMARY KEY (id)

-- name: others
-- Rows with the same id but a different identity.
SELECT count(*) AS others FROM pg_temp.backup_staged AS s JOIN {table} AS t ON t.id = s.id
WHERE ({staged}) IS DISTINCT FROM ({present})

-- name: add
INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE
SELECT {values} FROM pg_temp.backup_staged AS s WHERE {condition}
ON CONFLICT DO NOTHING

-- name: check_constraints
SET CONSTRAINTS ALL IMMEDIATE

-- name: raise_number
-- The next id is higher than all ids that the backup or this database ever assigned.
SELECT setval(pg_get_serial_sequence(%(table)s, %(column)s), greatest(%(last)s::bigint,
  pg_sequence_last_value(pg_get_serial_sequence(%(table)s, %(column)s)::regclass), 1))

-- name: index_vectors
SELECT memory.create_vector_index(m.id, m.dimensions) FROM memory.embedding_models AS m
WHERE m.active

-- name: is
t.{column} = {subject}

-- name: is_erasure
t.subject = sha256(convert_to({subject}, 'UTF8'))

-- name: is_about
t.data ->> 'about' = {subject}

-- name: is_of_time
t.created_at >= {begin}::timestamptz AND t.created_at < {end}::timestamptz

-- name: is_of_memory_of_time
EXISTS (SELECT FROM memory.memories AS m WHERE ({parents}) = ({columns})
  AND m.created_at >= {begin}::timestamptz AND m.created_at < {end}::timestamptz)

-- name: is_session_of_time
EXISTS (SELECT FROM memory.turns AS u JOIN memory.memories AS m
  ON (m.namespace, m.key) = (u.namespace, u.key)
  WHERE (u.user_id, u.session_id) = (t.user_id, t.id)
  AND m.created_at >= {begin}::timestamptz AND m.created_at < {end}::timestamptz)

-- name: tells_of_erasure
t.action = 'memory.erased'

-- name: not_erased
NOT EXISTS (SELECT FROM pg_temp.backup_erased AS e
  WHERE e.subject = sha256(convert_to({person}, 'UTF8')))

-- name: not_erased_for_good
-- A memory that was erased for good stays erased; one that was written there later is another.
NOT EXISTS (SELECT FROM memory.erasures AS e
  WHERE e.subject = memory.erased_address(s.namespace, s.key) AND e.erased_at >= s.updated_at)

-- name: not_erased_record
-- Only the digest of the record is left here, and counts in its place.
NOT EXISTS (SELECT FROM memory.erased_records AS e WHERE (e.source, e.id) = ({source}, s.id))

-- name: has_parent
(({columns}) IS NOT NULL AND EXISTS (SELECT FROM {table} AS p WHERE ({parents}) = ({columns}))
  OR NOT ({columns}) IS NOT NULL)

-- name: is_current
EXISTS (SELECT FROM pg_temp.backup_current AS c WHERE c.id = s.memory_id)

-- name: is_about_known
-- The memories that an earlier row is about are here, or their history is: nobody erased them.
CASE s.source WHEN 'turns' THEN EXISTS (
    SELECT FROM memory.memories AS m
    WHERE (m.namespace, m.key) = (s.content ->> 'namespace', s.content ->> 'key'))
  OR EXISTS (SELECT FROM memory.memory_history AS h
    WHERE (h.namespace, h.key) = (s.content ->> 'namespace', s.content ->> 'key'))
ELSE s.about::bigint IN (
    SELECT m.id FROM memory.memories AS m UNION ALL
    SELECT h.memory_id FROM memory.memory_history AS h)
  AND coalesce(s.also_about::bigint IN (
    SELECT m.id FROM memory.memories AS m UNION ALL
    SELECT h.memory_id FROM memory.memory_history AS h), true) END

-- name: model_here
(SELECT m.here FROM pg_temp.backup_models AS m WHERE m.there = s.model)
