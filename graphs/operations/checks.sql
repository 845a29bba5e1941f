-- name: facts
-- Facts that need no schema. The last count leaves out this connection.
SELECT current_setting('server_version') AS version,
  current_setting('server_version_num')::int AS number,
  clock_timestamp() AS now,
  (SELECT extversion FROM pg_extension WHERE extname = 'vector') AS vector,
  (SELECT default_version FROM pg_available_extensions WHERE name = 'vector') AS available_vector,
  (SELECT coalesce(jsonb_object_agg(r.rolname, jsonb_build_object(
      'mine', pg_has_role(current_user, r.oid, 'MEMBER'), 'unbound', r.rolbypassrls OR r.rolsuper)),
        '{}')
    FROM pg_roles AS r WHERE r.rolname IN ('anon', 'authenticated', 'service_role')) AS roles,
  current_setting('max_connections')::int AS max_connections,
  current_setting('superuser_reserved_connections')::int AS reserved_connections,
  (SELECT coalesce(jsonb_object_agg(s.state, s.connections), '{}') FROM (
    SELECT coalesce(a.state, 'unknown') AS state, count(*) AS connections FROM pg_stat_activity AS a
    WHERE a.backend_type = 'client backend' AND a.pid <> pg_backend_pid() GROUP BY 1) AS s)
      AS connections

-- name: server_process
SELECT pg_backend_pid() AS pid

-- name: sizes
-- Estimated rows (-1 if the table was never analysed) and total size of each table.
SELECT c.relname AS name, c.reltuples::bigint AS rows, pg_total_relation_size(c.oid) AS bytes
FROM pg_class AS c WHERE c.relnamespace = to_regnamespace('memory') AND c.relkind = 'r'
ORDER BY 3 DESC, 1
