"""Random lines of JSON: each becomes a memory or is rejected; our own lines are read unchanged."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graphs.memory.errors import InvalidInput
from graphs.operations.migration.jsonl import MemoryLine, line_of, open_jsonl
from graphs.operations.migration.source import RecordBatch, SourceRecord, SourceVersion
from graphs.operations.migration.writing import check
from tests.properties.test_round_trips import namespaces, text, values

moments = st.datetimes(
    min_value=datetime(1, 1, 2),  # noqa: DTZ001  hypothesis adds the zone
    timezones=st.just(UTC),
)
versions = st.builds(SourceVersion, values, moments, moments, st.sampled_from(["update", "delete"]))
records = st.builds(
    SourceRecord,
    st.just("-"),
    namespaces,
    text,
    values,
    st.none() | st.just(False) | st.lists(text, min_size=1, max_size=3),
    st.none() | moments,
    st.none() | moments,
    st.none() | moments,
    st.none() | st.floats(1, 1e6),
    st.none() | text,
    st.none() | text,
    st.lists(versions, max_size=2),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
lines = st.text(max_size=20).filter(
    lambda line: line.strip() and not set(line) & set("\r\n")
) | st.fixed_dictionaries(
    {}, optional=dict.fromkeys(["namespace", "key", "value", *MemoryLine.model_fields], anything)
).map(json.dumps)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("migrations") / "lines.jsonl"


def write(file: Path, written: list[str]) -> None:
    file.write_text(
        "".join(f"{line}\n" for line in written),
        encoding="utf-8",
        errors="surrogatepass",
        newline="\n",
    )


async def read(file: Path, written: list[str]) -> list[RecordBatch]:
    write(file, written)
    if not "".join(written).encode("utf-8", "surrogatepass").strip():
        with pytest.raises(InvalidInput, match="is empty"):
            await open_jsonl(file)
        return []
    source = await open_jsonl(file)
    batches = [batch async for batch in source.batches(None)]
    assert await source.count() == sum(
        len(batch.records) + len(batch.rejected) for batch in batches
    )
    return batches


def as_told(record: SourceRecord) -> dict[str, Any]:
    told = {name: getattr(record, name) for name in SourceRecord.__slots__}
    return told | {
        "source_id": "-",
        "value": dict(record.value),
        "fields": record.fields or record.fields,
    }


@given(st.lists(lines, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
async def test_every_line_is_a_memory_or_is_rejected(file: Path, written: list[str]) -> None:
    for batch in await read(file, written):
        checked, rejected = check(batch.records, None)
        assert len(checked) + len(rejected) == len(batch.records)


@given(st.lists(records, min_size=1, max_size=3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
async def test_what_is_written_as_lines_is_read_as_it_was(
    file: Path, written: list[SourceRecord]
) -> None:
    [batch] = await read(file, [line_of(record) for record in written])
    assert batch.rejected == []
    assert [as_told(record) for record in batch.records] == [as_told(record) for record in written]
