"""A database with data of every victim in every table, and snapshots to detect changes."""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import psycopg
from langgraph.store.base import IndexConfig
from psycopg.rows import dict_row

from graphs.memory_manager import MemoryManager
from tests.attacks.calls import secret_of
from tests.attacks.people import ORGANISATIONS, PEOPLE, USERS, VICTIMS, Victim

Row = dict[str, Any]
REFERENCES = ("memory_id", "source_id", "target_id")
"""Columns that reference a memory by its id."""
Snapshot = dict[str, dict[str, set[str]]]
"""The rows of each victim in each table, with their versions."""


@dataclass(frozen=True)
class Table:
    """A table, as the catalogue describes it."""

    name: str
    columns: tuple[str, ...]
    generated: frozenset[str]

    @property
    def owners(self) -> tuple[str, ...]:
        """Return the writable columns that name the owner of a row."""
        wanted = ("user_id", "org_id", "organisation_id")
        named = tuple(c for c in self.columns if c in wanted and c not in self.generated)
        return named or (("id",) if self.name in ("memory.users", "memory.organisations") else ())


_TABLES = """
SELECT n.nspname || '.' || c.relname AS name,
  array_agg(a.attname::text ORDER BY a.attnum) AS columns,
  array_agg(a.attname::text) FILTER (WHERE a.attgenerated <> '' OR a.attidentity <> '') AS generated
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname IN
  ('memory', 'public', 'langgraph', 'procrastinate', 'auth', 'storage')
  AND c.relname NOT LIKE '%\\_then'  -- views of the past hold no rows of their own
GROUP BY 1 ORDER BY 1
"""

CATALOGUE = "the catalogue"
_CATALOGUE = """
SELECT (SELECT md5(string_agg(
    concat(oid, relname, relacl, relrowsecurity, relowner), ',' ORDER BY oid)) FROM pg_class
    WHERE relnamespace IN (SELECT oid FROM pg_namespace
      WHERE nspname IN ('memory', 'public', 'langgraph', 'procrastinate'))),
  (SELECT md5(string_agg(p::text, ',' ORDER BY oid)) FROM pg_policy AS p),
  (SELECT md5(string_agg(t::text, ',' ORDER BY oid)) FROM pg_trigger AS t),
  (SELECT md5(string_agg(concat(oid, proacl, prosrc, proconfig), ',' ORDER BY oid)) FROM pg_proc
    WHERE pronamespace = 'memory'::regnamespace),
  (SELECT md5(string_agg(concat(rolname, rolsuper, rolbypassrls), ',' ORDER BY oid)) FROM pg_roles),
  (SELECT md5(string_agg(m::text, ',' ORDER BY roleid, member)) FROM pg_auth_members AS m)
"""
"""The objects that protect data: grants, policies, triggers, functions and roles."""

# A user's rows beside their memories. %(memory)s and %(other)s are two of these.
_A_PERSONS = """
INSERT INTO memory.users (id, display_name, profile)
  VALUES (%(id)s, %(marker)s, jsonb_build_object('a', %(marker)s));
INSERT INTO memory.sessions (user_id, id, title) VALUES (%(id)s, %(marker)s, %(marker)s);
INSERT INTO memory.turns (user_id, session_id, exchange, role, namespace, key)
  SELECT user_id, %(marker)s, %(marker)s, 'user', namespace, key
  FROM memory.memories WHERE id = %(memory)s;
INSERT INTO memory.agent_executions (run_id, agent, user_id, session_id)
  VALUES (%(marker)s, 'a', %(id)s, %(marker)s);
INSERT INTO memory.deleted_runs (run_id, thread_id) VALUES (%(marker)s, '');
INSERT INTO memory.runs (run_id, user_id, session_id, agent, parent_run, as_of, status)
  VALUES (%(id)s, %(id)s, %(marker)s, %(marker)s, %(marker)s, now(), 'undone');
INSERT INTO memory.audit_logs (actor, action, user_id, run_id)
  VALUES (%(id)s, 'memory.insert', %(id)s, %(id)s || '-before-runs');
INSERT INTO memory.row_history
  (source, row_id, content, operation, about, user_id, valid_from, valid_to)
  SELECT 'turns', %(marker)s, jsonb_build_object('namespace', namespace, 'key', key), 'delete',
    namespace || key, user_id, now(), now() FROM memory.memories WHERE id = %(memory)s;
INSERT INTO memory.history_embeddings (history_id, field, model, user_id, embedding)
  SELECT max(id), %(marker)s, 1, %(id)s, '[1]' FROM memory.memory_history WHERE user_id = %(id)s;
INSERT INTO memory.memory_logs
  (user_id, session_id, agent, type, memories, idempotency_key, said_at)
  VALUES (%(id)s, %(marker)s, 'a', 'turn', '[]', %(marker)s, now());
INSERT INTO memory.recall_receipts (actor, user_id, query, chosen, nearly)
  VALUES (%(id)s, %(id)s, %(marker)s, '[]', '[]');
INSERT INTO memory.audit_logs (actor, action, user_id, data)
  VALUES (%(id)s, 'noted', %(id)s, jsonb_build_object('a', %(marker)s));
INSERT INTO memory.goal_assessments (user_id, memory_id, assessment)
  VALUES (%(id)s, %(memory)s, jsonb_build_object('a', %(marker)s));
INSERT INTO memory.belief_graphs (user_id, memory_id, confidence) VALUES (%(id)s, %(memory)s, 0.5);
INSERT INTO memory.cognitive_metrics (user_id, name, value) VALUES (%(id)s, %(marker)s, 1);
INSERT INTO memory.user_brain (user_id, slug, memory_id) VALUES (%(id)s, %(marker)s, %(memory)s);
INSERT INTO memory.memory_relationships (user_id, source_id, target_id, type)
  VALUES (%(id)s, %(memory)s, %(other)s, %(marker)s);
INSERT INTO memory.memory_relationships (user_id, source_id, target_id, type)
  SELECT %(id)s, min(id), max(id), %(marker)s FROM memory.memories WHERE agent_id IS NOT NULL;
INSERT INTO memory.files (user_id, bucket, path, media_type, bytes, sha256)
  VALUES (%(id)s, 'uploads', %(id)s || '/' || %(marker)s, 'text/plain', 1, %(marker)s);
INSERT INTO procrastinate.procrastinate_jobs (queue_name, task_name, args)
  VALUES ('default', 'extract_facts',
    jsonb_build_object('user_id', %(id)s, 'session_id', %(marker)s));
INSERT INTO memory.job_failures (job_id, user_id, error)
  SELECT max(id), %(id)s, %(marker)s FROM procrastinate.procrastinate_jobs;
INSERT INTO memory.deliveries (adapter, mode, user_id, intent) VALUES ('mem0', 'on', %(id)s,
  jsonb_build_object('kind', 'memory_written', 'key', %(marker)s));
INSERT INTO memory.external_copies (adapter, namespace, key, user_id, external_id)
  VALUES ('mem0', 'users.' || %(id)s || '.', %(marker)s, %(id)s, %(marker)s);
INSERT INTO memory.shadow_comparisons (candidate, user_id, at_most, ours, theirs, our_seconds)
  VALUES ('ranking', %(id)s, 1, jsonb_build_array(%(marker)s), '[]', 0);
INSERT INTO memory.brain_loads (id, job_id, kind, user_id)
  SELECT md5(%(id)s)::uuid, max(id), 'user', %(id)s FROM procrastinate.procrastinate_jobs;
INSERT INTO memory.brain_load_errors (load_id, user_id, slug, error)
  VALUES (md5(%(id)s)::uuid, %(id)s, %(marker)s, 'InvalidValue');
INSERT INTO memory.migrations (id, source, origin) VALUES (md5(%(id)s)::uuid, 'jsonl', 'a file');
INSERT INTO memory.migrated_memories
  (migration_id, memory_id, namespace, key, user_id, source_id, version)
  SELECT md5(%(id)s)::uuid, id, namespace, key, user_id, %(marker)s, now()
  FROM memory.memories WHERE id = %(memory)s;
INSERT INTO public.applications (id, user_id, amount, term_months, business_name, score_reasons)
  VALUES (md5(%(id)s)::uuid, %(id)s, 1, 1, %(marker)s, jsonb_build_array(%(marker)s));
INSERT INTO public.application_scores
  (application_id, user_id, score, decision, reasons, inputs, rule)
  VALUES (md5(%(id)s)::uuid, %(id)s, 1, 'declined', jsonb_build_array(%(marker)s), '{}', '1');
INSERT INTO public.leads (user_id, interest) VALUES (%(id)s, %(marker)s);
INSERT INTO auth.users (id, email) VALUES (%(id)s, %(marker)s);
INSERT INTO storage.objects (name, owner_id) VALUES (%(marker)s, %(id)s);
INSERT INTO langgraph.checkpoints (thread_id, checkpoint_ns, checkpoint_id, checkpoint, metadata)
  VALUES (%(marker)s, '', '1', '{}', jsonb_build_object('owner', %(id)s));
INSERT INTO langgraph.checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type)
  VALUES (%(marker)s, '', 'c', '1', 't');
INSERT INTO langgraph.checkpoint_writes
  (thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, blob)
  VALUES (%(marker)s, '', '1', 't', 1, 'c', 'x');
"""
_AN_ORGANISATIONS = """
INSERT INTO memory.organisations (id, name) VALUES (%(id)s, %(marker)s);
INSERT INTO memory.company_brain (org_id, slug, memory_id) VALUES (%(id)s, %(marker)s, %(memory)s);
INSERT INTO memory.memory_relationships (org_id, source_id, target_id, type)
  VALUES (%(id)s, %(memory)s, %(other)s, %(marker)s);
INSERT INTO memory.brain_loads (id, job_id, kind, org_id)
  SELECT md5(%(id)s)::uuid, max(id), 'company', %(id)s FROM procrastinate.procrastinate_jobs;
INSERT INTO memory.brain_load_errors (load_id, org_id, slug, error)
  VALUES (md5(%(id)s)::uuid, %(id)s, %(marker)s, 'InvalidValue');
INSERT INTO memory.audit_logs (actor, action, org_id, data)
  VALUES (%(id)s, 'noted', %(id)s, jsonb_build_object('a', %(marker)s));
"""

UNOWNED = {
    "memory.schema_versions", "memory.embedding_models", "public.dealers", "public.robot_catalog",
    "storage.buckets",
    "langgraph.checkpoint_migrations", "memory.job_migrations",
    "memory.personal_business_tables", "memory.audit_seals", "memory.erasures", "memory.migrations",
    "memory.erased_records",
    "procrastinate.procrastinate_workers", "procrastinate.procrastinate_events",
    "procrastinate.procrastinate_periodic_defers",
}  # fmt: skip
"""Tables without data of any owner."""


@dataclass
class World:
    """The database of an attack.

    Args:
        database: Connection string, as the superuser.
    """

    database: str

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        with psycopg.connect(self.database, row_factory=dict_row) as conn:
            found = conn.execute(_TABLES).fetchall()
        return tuple(
            Table(t["name"], tuple(t["columns"]), frozenset(t["generated"] or ())) for t in found
        )

    @cached_property
    def memory_ids(self) -> dict[str, set[int]]:
        """Return the ids of each victim's memories; all users may reference those of agents."""
        with psycopg.connect(self.database) as conn:
            return {
                victim.id: {
                    row[0]
                    for row in conn.execute(
                        "SELECT id FROM memory.memories WHERE starts_with(namespace, %s)",
                        (f"{victim.kind}.{victim.id}.",),
                    )
                }
                for victim in VICTIMS
                if victim.kind != "agents"
            }

    def _read(
        self, conn: psycopg.Connection[Any], tables: Iterable[Table]
    ) -> Iterator[tuple[str, str, Row]]:
        """Yield table name, version and content of every row of some tables."""
        each = (
            f"SELECT '{t.name}', t.ctid::text || t.xmin, to_jsonb(t) - 'embedding' "
            f"FROM {t.name} AS t"
            for t in tables
        )
        yield from conn.execute(" UNION ALL ".join(each).encode())

    def rows(self, conn: psycopg.Connection[Any]) -> dict[str, list[Row]]:
        """Return all rows of all tables."""
        found: dict[str, list[Row]] = {table.name: [] for table in self.tables}
        for name, _, row in self._read(conn, self.tables):
            found[name].append(row)
        return found

    def fingerprints(self, conn: psycopg.Connection[Any]) -> dict[str, str]:
        """Return a digest of each table and of the rules, which changes with any row's version."""
        each = (
            f"(SELECT md5(string_agg(ctid::text || xmin, ',')) FROM {table.name})"
            for table in self.tables
        )
        [versions] = conn.execute(f"SELECT {', '.join(each)}".encode()).fetchall()
        names = (table.name for table in self.tables)
        return dict(zip(names, versions, strict=True)) | {
            CATALOGUE: str(conn.execute(_CATALOGUE).fetchall())
        }

    def snapshot(self, conn: psycopg.Connection[Any]) -> Snapshot:
        """Return the current rows by owner, on a connection that sees everything."""
        nothing: Snapshot = {victim.id: {} for victim in VICTIMS}
        return self.snapshot_since(nothing, {}, conn)

    def snapshot_since(
        self, before: Snapshot, prints: dict[str, str], conn: psycopg.Connection[Any]
    ) -> Snapshot:
        """Return a snapshot, reading only tables whose fingerprints have changed since another."""
        now = self.fingerprints(conn)
        if now == prints:
            return before
        changed = [table for table in self.tables if now[table.name] != prints.get(table.name, "")]
        again = {table.name for table in changed}
        found = {
            victim: {name: kept for name, kept in t.items() if name not in again}
            for victim, t in before.items()
        }
        for name, version, row in self._read(conn, changed) if changed else ():
            for victim in VICTIMS:
                if self.belongs(row, victim):
                    found[victim.id].setdefault(name, set()).add(version)
        for tables in found.values():
            tables[CATALOGUE] = {now[CATALOGUE]}
        return found

    def belongs(self, row: Row, victim: Victim) -> bool:
        """Return whether a row of any table is of or about a victim."""
        refers = {row.get(column) for column in REFERENCES}
        return (
            victim.id
            in {
                row.get(column)
                for column in ("id", "user_id", "org_id", "organisation_id", "agent_id", "owner_id")
            }
            or bool(refers & self.memory_ids.get(victim.id, set()))
            or victim.marker in str(row)
        )


def make_world(database: str, index: IndexConfig) -> World:
    """Fill a database that has the schema."""
    asyncio.run(_remember(database, index))
    with psycopg.connect(database, cursor_factory=psycopg.ClientCursor) as conn:
        for victim, script in [(v, _A_PERSONS) for v in USERS] + [
            (v, _AN_ORGANISATIONS) for v in ORGANISATIONS
        ]:
            ids = [
                row[0]
                for row in conn.execute(
                    "SELECT id FROM memory.memories WHERE user_id = %(id)s OR org_id = %(id)s "
                    "ORDER BY id",
                    {"id": victim.id},
                )
            ]
            values = {"id": victim.id, "marker": victim.marker, "memory": ids[0], "other": ids[1]}
            for statement in filter(str.strip, script.split(";\n")):
                conn.execute(statement, values)
        for actor in PEOPLE:
            for organisation in actor.member_of:
                role = "admin" if organisation in actor.administers else "member"
                conn.execute(
                    "INSERT INTO memory.organisation_members (organisation_id, user_id, role) "
                    "VALUES (%s, %s, %s)",
                    (organisation, actor.user_id, role),
                )
            for organisation in actor.invited_to:
                conn.execute(
                    "INSERT INTO memory.organisation_members "
                    "(organisation_id, user_id, accepted_at) VALUES (%s, %s, NULL)",
                    (organisation, actor.user_id),
                )
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("ANALYZE")
    return World(database)


async def _remember(database: str, index: IndexConfig) -> None:
    """Give every victim two memories with vectors, an old version, a deleted one, and a slug."""
    async with MemoryManager.from_conn_string(database, index=index) as store:
        for victim in VICTIMS:
            for version, key in ((1, "secret"), (2, "secret"), (1, "another"), (1, "gone")):
                content = f"The password is {victim.marker}, version {version}."
                await store.aput(
                    victim.namespace,
                    key,
                    {"content": content, "type": "fact", "tags": ["t"], "n": 1},
                )
            await store.adelete(victim.namespace, "gone")
            if victim.kind == "users":
                await store.brain.save_user_memories(victim.id, {"secret": secret_of(victim)})
            elif victim.kind == "orgs":
                await store.brain.save_company_memories(victim.id, {"secret": secret_of(victim)})
