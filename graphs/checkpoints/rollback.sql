-- name: act
-- Who undoes, and which adapters are told, as in a transaction of the store.
SELECT set_config('request.jwt.claims', %(claims)s, true),
  set_config('memory.provenance', %(provenance)s, true)

-- name: undo
SELECT count(*) FROM memory.undo_runs(%(run_ids)s::text[], NULL, %(thread_id)s::text, true)
