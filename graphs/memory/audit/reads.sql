-- name: log_reads
SELECT memory.log_reads(%(reads)s::jsonb)
