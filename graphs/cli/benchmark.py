"""`graph-memory benchmark`: is this deployment as fast as it should be?"""

import asyncio
import importlib
import json
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from langgraph.pregel import Pregel

from graphs.checkpointer import open_checkpointer
from graphs.cli.ending import Exit, fail, run
from graphs.cli.output import (
    AsJson,
    note,
    print_json,
    print_table,
    progress,
)
from graphs.cli.svg import (
    COLOURS,
    WIDTH,
    box,
    decades,
    line,
    page,
    text,
)
from graphs.cli.whole_file import whole_file
from graphs.deployment.models import index_config
from graphs.deployment.pools import shared_pool
from graphs.deployment.settings import load_settings
from graphs.memory_manager import MemoryManager
from graphs.operations.benchmarking import (
    FEWEST,
    AskAgent,
    Measurement,
    somebody_made_up,
)

_BAR = 30
_LEFT, _TOP, _ROW = 250, 64, 26


def benchmark(
    memories: Annotated[
        int, typer.Option(min=FEWEST, max=100_000, help="Memories of the made-up user.")
    ] = 1000,
    agent: Annotated[
        str | None,
        typer.Option(help="Also measure answers of this graph of langgraph.json, with its model."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", dir_okay=False, help="Write a chart to this file, .svg or .html."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure this deployment against the targets of its memory: the 95th percentile of 100 calls.

    A made-up user gets memories, relationships and a session, and is erased again, even after an
    interruption; the certificate of the erasure stays. Nothing is sent to other services, and no
    facts are extracted. The embedding model embeds each memory and question, and with --agent the
    chat model answers 210 times: both may cost money.

    Exit code 1 if a target is missed.
    """
    if output and output.suffix not in (".svg", ".html"):
        fail(f"{output} is not a chart's name: let it end with .svg or .html.", Exit.USAGE)
    graph = _graph(agent) if agent else None
    found = run(_benchmark(memories, graph, output))
    met = all(each.met for each in found)
    if as_json:
        print_json({"met": met, "memories": memories, "works": found})
    else:
        _show(found, memories)
        if agent is None:
            note("No agent was measured: name one, as in --agent assistant.")
    if not met:
        raise typer.Exit(Exit.FAILED)


async def _benchmark(
    memories: int, graph: Pregel[Any] | None, output: Path | None
) -> list[Measurement]:
    async with (
        _bare_store() as store,
        _answering(graph, store) as answer,
        somebody_made_up(store) as trial,
    ):
        with progress("memories") as advance:
            await trial.fill(memories, advance)
        with progress("calls") as advance:
            found = [each async for each in trial.measure(advance, answer)]
    if output:
        drawing = chart(found, f"Milliseconds, with {memories:,} memories")
        async with whole_file(output) as write:
            await write(
                [
                    drawing
                    if output.suffix == ".svg"
                    else f"<!doctype html><title>Benchmark</title>{drawing}"
                ]
            )
    return found


@asynccontextmanager
async def _bare_store() -> AsyncIterator[MemoryManager]:
    """Lend the deployment's database and embedding model, without extraction and adapters."""
    settings = await asyncio.to_thread(load_settings)
    index = await asyncio.to_thread(index_config, settings)
    async with shared_pool(settings) as pool, MemoryManager(pool, index=index) as store:
        await store.setup()
        yield store


def _graph(name: str) -> Pregel[Any]:
    """Return a graph of the deployment; end the command if there is none of this name."""
    try:
        given = json.loads(Path("langgraph.json").read_text())["graphs"]
    except FileNotFoundError:
        fail("There is no langgraph.json here: change to the project's folder.", Exit.USAGE)
    if name not in given:
        fail(f"langgraph.json has no graph {name!r}: choose one of {', '.join(given)}.", Exit.USAGE)
    path = given[name] if isinstance(given[name], str) else given[name]["path"]
    module, _, attribute = path.partition(":")
    try:
        graph = getattr(importlib.import_module(module), attribute, None)
    except ImportError as error:
        fail(
            f"{path} cannot be imported ({error}): name a graph by its module path, and "
            "install its dependencies.",
            Exit.USAGE,
        )
    if not isinstance(graph, Pregel):
        fail(f"{path} is not a compiled graph: choose a graph that is one.", Exit.USAGE)
    return graph


@asynccontextmanager
async def _answering(
    graph: Pregel[Any] | None, store: MemoryManager
) -> AsyncIterator[AskAgent | None]:
    """Lend a function that asks the graph, with the store and the deployment's checkpointer."""
    if graph is None:
        yield None
        return
    async with open_checkpointer() as checkpointer:
        served = graph.copy({"store": store, "checkpointer": checkpointer})

        async def answer(session_id: str, said: str) -> object:
            asked = {"messages": [{"role": "user", "content": said}]}
            return await served.ainvoke(asked, {"configurable": {"thread_id": session_id}})

        yield answer


def _show(found: Sequence[Measurement], memories: int) -> None:
    rows = [
        (
            _name(each),
            each.p50,
            each.p95,
            each.p99,
            each.target,
            "yes" if each.met else "NO",
            _share(each),
        )
        for each in found
    ]
    columns = (
        "work",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "target",
        "met",
        "p95, as a share of the target",
    )
    print_table(columns, rows, title=f"With {memories:,} memories")


def _name(each: Measurement) -> str:
    return each.work + (f", {each.at_once} at once" if each.at_once > 1 else "")


def _share(each: Measurement) -> str:
    share = each.p95 / each.target
    return f"{'█' * max(1, min(_BAR, round(_BAR * share)))} {share:.0%}"


def chart(found: Sequence[Measurement], title: str) -> str:
    """Return an SVG chart of the measurements: bar to p95, ticks at p50 and p99, target."""
    low, high = decades(
        [value for each in found for value in (max(each.p50, 0.01), each.p99, each.target)]
    )

    def place(milliseconds: float) -> float:
        """Return the position of a time on the logarithmic axis."""
        return _LEFT + (math.log10(max(milliseconds, 10.0**low)) - low) / (high - low) * (
            WIDTH - _LEFT - 40
        )

    base = _TOP + _ROW * len(found)
    parts = [
        text(16, 24, title, "start", 16),
        text(16, 44, "Bar: p95. Ticks: p50, p99. Red line: target.", "start"),
    ]
    for power in range(low, high + 1):
        x = place(10.0**power)
        parts += [line(x, _TOP, x, base), text(x, base + 18, f"{10.0**power:,g}")]
    for n, each in enumerate(found):
        y = _TOP + n * _ROW + 5
        parts.append(text(_LEFT - 8, y + 12, _name(each), "end"))
        parts.append(
            box(_LEFT, y, max(1, place(each.p95) - _LEFT), 16, COLOURS[0 if each.met else 3])
        )
        parts += [box(place(tick) - 0.5, y, 1, 16, "#9ca3af") for tick in (each.p50, each.p99)]
        parts.append(box(place(each.target) - 1, y - 3, 2, 22, COLOURS[3]))
        parts.append(
            text(place(each.target) + 6, y + 12, f"{each.p95:.3g} of {each.target:g}", "start", 10)
        )
    return page(parts, base + 40)
