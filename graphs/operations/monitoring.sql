-- name: look
-- The state of the server and of the memory at this moment. Counts of large tables stop at a limit,
-- so that the answer takes the same time at any size. Postgres shows the text of other roles'
-- statements only to roles that may see it.
WITH clients AS (
  SELECT pid, coalesce(state, 'unknown') AS state, application_name, wait_event_type, wait_event,
    query,
    extract(epoch FROM clock_timestamp() - query_start)::float8 AS seconds
  FROM pg_catalog.pg_stat_activity
  WHERE datname = current_database() AND backend_type = 'client backend'
), by_state AS (
  SELECT state, coalesce(nullif(application_name, ''), '-') AS application, count(*) AS connections
  FROM clients
  GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT 12
), slow AS (
  SELECT pid, seconds, concat_ws(' ', wait_event_type, wait_event) AS waits_for,
    left(query, 300) AS statement FROM clients
  WHERE state = 'active' AND pid <> pg_backend_pid() AND seconds >= %(slow)s::float8
  ORDER BY seconds DESC LIMIT 8
), open_deliveries AS (
  SELECT adapter, status, count(*) AS deliveries FROM (
    SELECT adapter, status FROM memory.deliveries
    WHERE status IN ('pending', 'failed') LIMIT 100000) AS not_done
  GROUP BY 1, 2 ORDER BY 1, 2
), recalls AS (
  SELECT at FROM memory.recall_receipts ORDER BY id DESC LIMIT 5000
), timed AS (
  SELECT our_seconds FROM memory.shadow_comparisons WHERE at > now() - interval '15 minutes'
  ORDER BY at DESC LIMIT 5000
)
SELECT
  (SELECT count(*) FROM clients) AS connections,
  current_setting('max_connections')::int AS max_connections,
  (SELECT coalesce(jsonb_agg(to_jsonb(by_state)), '[]') FROM by_state) AS clients,
  (SELECT coalesce(jsonb_agg(to_jsonb(slow)), '[]') FROM slow) AS slow,
  (SELECT coalesce(jsonb_agg(to_jsonb(open_deliveries)), '[]') FROM open_deliveries) AS deliveries,
  (SELECT blks_hit::float8 / nullif(blks_hit + blks_read, 0) FROM pg_catalog.pg_stat_database
    WHERE datname = current_database()) AS cache_hits,
  (SELECT count(*) FROM recalls WHERE at > now() - interval '1 minute') AS recalls,
  (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY our_seconds) FROM timed) AS recall_median,
  (SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY our_seconds) FROM timed) AS recall_p95
