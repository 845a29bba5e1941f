"""Clients of services outside: Supabase, hosted Mem0."""
