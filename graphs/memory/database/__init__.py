"""Statements, transactions and the schema: all that speaks to Postgres."""
