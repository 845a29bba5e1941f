"""The baseline and its steps make the schema of the whole file; released steps never change."""

import hashlib
from dataclasses import replace
from itertools import combinations

import psycopg
import pytest
from psycopg.rows import dict_row

from graphs.memory.database import objects
from graphs.memory.database.objects import Objects
from graphs.memory.database.parts import SchemaPart, leave_out
from graphs.memory.database.schema import read_scripts

RELEASED = {
    "0001_baseline": "b4f80e83bfee87667c38be014a8336f7e4382f944888da99fbb22eb78d140698",
    "0002_steps": "fb18a134a32e7bb1181175877f946c4f0f05140fdf62844b1c2eb4511a41e596",
    "0003_deleted_runs": "52f06f18a51ce17a0178650e3a31c60a136f6ab71b78fb78184b2c5057881c1b",
    "0004_retention": "5ddee75ed6fc4c7024492fa372e8169a2ec9b0cba5e4bd9f134c4621b723de3d",
    "0005_organisations": "d65d714c68b10ffbb47b7c0df84059ecc5b526c0e18a6c9c884a59de0921224b",
    "0006_values": "67d1d3210abb863dcc5437abd91518a41b10eeada8b3bdca25ef5834ef521703",
    "0007_erasure": "d69d2f0cc64e2f32d5d635bb79fd26256653defeb19248d270d519089991a1be",
    "0008_late_records": "fd0c8725ddb9267b6c9bb7fdc8c0a41f4121ff1251d964a7f8e8894410d96673",
    "0009_addresses": "28bbd5e1317d0aa23eb9d89203465d49b3dd7749b421ce8e989d1e0f98a03c6e",
    "0010_runs": "dc4756e388718c5cff83c701aaf77532cedf7ca12f6d3e6e9ef39726a06ac761",
}
"""Digests of the steps that databases may have: a step is released by writing it down here."""


def test_a_released_step_never_changes() -> None:
    found = {step.name: step.digest for step in read_scripts().steps}
    assert {name: found.get(name) for name in RELEASED} == RELEASED


def test_steps_are_numbered_without_a_gap() -> None:
    steps = read_scripts().steps
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    assert all(step.name == f"{step.number:04}_{step.name[5:]}" for step in steps)


def test_a_step_is_known_by_its_text() -> None:
    [baseline, *_] = read_scripts().steps
    assert baseline.digest == hashlib.sha256(baseline.script.encode()).hexdigest()
    assert replace(baseline, script=baseline.script + " ").digest != baseline.digest


async def made_by(database: str, *scripts: str) -> Objects:
    """Return the objects that scripts make in a database; nothing stays of them."""
    async with (
        await psycopg.AsyncConnection.connect(database, row_factory=dict_row) as conn,
        conn.transaction(force_rollback=True),
    ):
        for script in (read_scripts().local_supabase, *scripts):
            await conn.execute(script)
        return await objects.read(conn)


async def test_who_was_a_member_before_memberships_were_accepted_stays_one(
    empty_database: str,
) -> None:
    steps = [(step.name[5:], step.script) for step in read_scripts().steps]
    n = [name for name, _ in steps].index("organisations")
    *before, last = [script for _, script in steps[: n + 1]]
    async with (
        await psycopg.AsyncConnection.connect(empty_database) as conn,
        conn.transaction(force_rollback=True),
    ):
        for script in (read_scripts().local_supabase, *before):
            await conn.execute(script)
        await conn.execute("INSERT INTO memory.organisations (id, name) VALUES ('acme', 'Acme')")
        await conn.execute(
            "INSERT INTO memory.organisation_members VALUES ('acme', 'ann', 'admin')"
        )
        await conn.execute(last)
        found = await conn.execute("SELECT accepted_at FROM memory.organisation_members")
        assert (await found.fetchone()) != (None,)


LEFT_OUT = [c for n in (0, 1, 2) for c in combinations(SchemaPart, n)]


@pytest.mark.parametrize("left_out", LEFT_OUT, ids=lambda c: " ".join(c) or "all of it")
async def test_the_baseline_and_its_steps_make_what_the_file_makes(
    empty_database: str, left_out: tuple[SchemaPart, ...]
) -> None:
    scripts = read_scripts()
    stepped = await made_by(empty_database, *(leave_out(s.script, left_out) for s in scripts.steps))
    whole = await made_by(empty_database, leave_out(scripts.supabase_schema, left_out))
    assert stepped == whole
    assert {kind for kind, _ in whole} >= {
        "table",
        "column",
        "function",
        "policy",
        "trigger",
        "grant",
    }


async def test_what_has_words_of_other_spellings_or_none_is_marked_to_be_indexed(
    empty_database: str,
) -> None:
    """Rows from before texts were normalised, and memories that came past the store."""
    scripts = read_scripts()
    [step] = [step for step in scripts.steps if step.name.endswith("_values")]
    async with (
        await psycopg.AsyncConnection.connect(empty_database) as conn,
        conn.transaction(force_rollback=True),
    ):
        for before in (
            scripts.local_supabase,
            *(s.script for s in scripts.steps[: step.number - 1]),
        ):
            await conn.execute(before)
        for key, content, document in (
            ("plain", "tea", "tea"),
            ("composed", "Zo\u00eb", "a"),
            ("decomposed", "Zoe\u0308", "a"),
            ("wide", "\uff34", "a"),
            ("private", "\uff34", None),
        ):
            await conn.execute(
                "INSERT INTO memory.memories (namespace, key, value, document) "
                "VALUES ('n.', %s, jsonb_build_object('content', %s::text), %s)",
                [key, content, document],
            )
        await conn.execute(
            "INSERT INTO memory.memories (namespace, key, value) "
            """VALUES ('n.', 'posted', '{"content": "tea", "type": "fact"}')"""
        )
        await conn.execute(step.script)
        marked = await conn.execute(
            "SELECT key FROM memory.memories WHERE document = '' ORDER BY 1"
        )
        assert [key for (key,) in await marked.fetchall()] == ["decomposed", "posted", "wide"]


async def test_the_comparison_sees_every_kind_of_difference(empty_database: str) -> None:
    """Or that nothing differs would say nothing."""
    whole = read_scripts().supabase_schema
    made = await made_by(empty_database, whole)
    for change in CHANGES:
        assert await made_by(empty_database, whole, change) != made, change


CHANGES = [
    "ALTER TABLE memory.users ADD COLUMN nickname text",
    "ALTER TABLE memory.users ALTER COLUMN created_at DROP DEFAULT",
    "ALTER TABLE memory.memory_embeddings ALTER COLUMN embedding SET STORAGE EXTERNAL",
    "ALTER TABLE memory.users ADD CONSTRAINT named CHECK (display_name <> '')",
    "DROP INDEX memory.turns_age; CREATE INDEX turns_age ON memory.turns (created_at DESC)",
    "CREATE OR REPLACE FUNCTION memory.actor() RETURNS text LANGUAGE sql STABLE "
    "SET search_path = '' AS $$ SELECT '' $$",
    "ALTER FUNCTION memory.actor() SECURITY DEFINER",
    "ALTER FUNCTION memory.actor() RESET search_path",
    "ALTER TABLE memory.memories DISABLE TRIGGER memories_recorded",
    "DROP TRIGGER memories_recorded ON memory.memories",
    "ALTER TABLE memory.users DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE memory.users FORCE ROW LEVEL SECURITY",
    "ALTER POLICY own ON memory.users USING (true)",
    "ALTER POLICY own ON memory.users TO anon",
    "GRANT SELECT ON memory.users TO anon",
    "GRANT UPDATE (created_at) ON memory.memories TO authenticated",
    "GRANT USAGE ON SCHEMA memory TO anon",
    "GRANT USAGE ON SEQUENCE memory.turns_id_seq TO anon",
    "GRANT EXECUTE ON FUNCTION memory.erase_user(text, jsonb) TO PUBLIC",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA memory GRANT SELECT ON TABLES TO anon",
    "COMMENT ON TABLE memory.users IS 'People'",
    "COMMENT ON COLUMN memory.users.id IS 'Who'",
    "COMMENT ON FUNCTION memory.actor() IS 'Who acts'",
]
