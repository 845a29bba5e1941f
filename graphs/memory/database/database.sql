-- name: begin
-- Who acts, where a write comes from, and how the planner works: policies and triggers read these,
-- and they last as long as the transaction, so that a pooled connection keeps nothing. Plans are
-- made once for each connection, by the indexes, which every statement of ours has. The path is
-- where `vector` may have been installed. A scan of the vector index keeps 200 candidates, and goes
-- on with as many where that was not enough: fewer miss whole groups of near vectors. A time limit
-- only ever shortens the one that the connection has.
SELECT set_config('role', %(role)s, true), set_config('request.jwt.claims', %(claims)s, true),
  set_config('memory.provenance', %(provenance)s, true),
  set_config('search_path', 'memory, extensions, public', true),
  set_config('plan_cache_mode', 'force_generic_plan', true),
  set_config('enable_seqscan', 'off', true),
  set_config('jit', 'off', true), set_config('hnsw.iterative_scan', 'relaxed_order', true),
  set_config('hnsw.ef_search', '200', true), {text_formats},
  CASE WHEN %(seconds)s::float8 IS NOT NULL THEN set_config('statement_timeout', (1000 *
    extract(epoch FROM least(nullif(current_setting('statement_timeout')::interval, '0'),
      make_interval(secs => %(seconds)s::float8))))::int::text, true) END

-- name: act
-- Who acts from here on in a transaction that has begun, and where their writes come from.
SELECT set_config('role', %(role)s, true), set_config('request.jwt.claims', %(claims)s, true),
  set_config('memory.provenance', %(provenance)s, true),
  CASE WHEN %(seconds)s::float8 IS NOT NULL THEN set_config('statement_timeout', (1000 *
    extract(epoch FROM least(nullif(current_setting('statement_timeout')::interval, '0'),
      make_interval(secs => %(seconds)s::float8))))::int::text, true) END

-- name: look_back
-- The moment that the views of the past show.
SELECT set_config('memory.as_of', %(moment)s, true)

-- name: no_time_limit
SELECT set_config('statement_timeout', '0', true)

-- name: refuse_deleted_runs
SELECT memory.refuse_deleted_runs(%(run_ids)s::text[], %(thread_ids)s::text[])

-- name: lacking
-- The parts of the schema that this database was made without; none where it has no schema at all.
SELECT array_remove(ARRAY[
  CASE WHEN to_regclass('memory.memory_relationships') IS NULL THEN 'graph' END,
  CASE WHEN to_regclass('memory.memory_history') IS NULL THEN 'history' END], NULL) AS parts

-- name: open
-- For transactions whose statements depend on one another's answers; all others are one by being
-- sent together.
BEGIN

-- name: commit
COMMIT

-- name: rollback
ROLLBACK
