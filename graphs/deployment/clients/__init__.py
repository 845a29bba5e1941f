"""Clients of other services: Supabase, hosted Mem0, S3 buckets."""
