"""Fair comparison of several systems: the same work in one run, in turns.

In a round, every system does the work once; the order rotates, so that a slow minute of the machine
hits them all. A ratio is taken within a round, and the median of all rounds' ratios counts.
Latencies are pooled over the rounds. The first round warms up and is not counted.
"""

import asyncio
import math
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.peers import Peer
from benchmarks.progress import say


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of work to measure.

    Args:
        name: Its name in the table.
        ability: The ability that a peer needs to take part.
        call: A function that makes the n-th call to a peer.
        at_once: The number of concurrent callers.
        each: The number of items per call.
        calls: The calls of a round; fewer if they take longer than the budget.
        settles: Whether puts may leave index work for later, which is then awaited and counted.
        judge: A function that returns recall, rows returned and rows that exist.
    """

    name: str
    ability: str
    call: Callable[[Peer, int], Awaitable[Any]]
    at_once: int = 1
    each: int = 1
    calls: int = 200
    settles: bool = False
    judge: Callable[[Peer], Awaitable[tuple[float, float, float]]] | None = None


@dataclass(slots=True)
class Turns:
    """The measurements of one system at one work, over all rounds."""

    latencies: list[float] = field(default_factory=list)
    """Seconds of each call."""
    speeds: list[float] = field(default_factory=list)
    """Items per second, of each round."""
    settled_speeds: list[float] = field(default_factory=list)
    """The same, with the index work that was left for later included."""
    recall: float = math.nan
    """Recall as returned by `judge`, if the work has one."""

    def percentile(self, percent: float) -> float:
        """Return a percentile of the latencies in milliseconds."""
        return (
            float(np.percentile(self.latencies, percent)) * 1000 if self.latencies else float("nan")
        )

    @property
    def speed(self) -> float:
        return statistics.median(self.speeds)

    @property
    def settled_speed(self) -> float:
        return statistics.median(self.settled_speeds)


@dataclass(slots=True)
class Result:
    """The measurements of all systems at one work; `quality` is the result of `judge`."""

    work: Work
    turns: dict[str, Turns]
    quality: dict[str, tuple[float, float, float]]


async def turn(
    peer: Peer, work: Work, first: int, budget: float
) -> tuple[list[float], float, float]:
    """Do a work once; return latencies, seconds, and seconds with its index work included."""
    latencies: list[float] = []
    began = time.perf_counter()

    async def caller(lane: int) -> None:
        for n in range(first + lane, first + work.calls, work.at_once):
            start = time.perf_counter()
            if start - began > budget:
                break
            await work.call(peer, n)
            latencies.append(time.perf_counter() - start)

    await asyncio.gather(*(caller(lane) for lane in range(work.at_once)))
    took = time.perf_counter() - began
    if work.settles:
        await peer.settle()
    return latencies, took, time.perf_counter() - began


async def compare(peers: Sequence[Peer], work: Work, rounds: int, budget: float) -> Result:
    """Run a work with every able peer, round by round.

    Args:
        peers: The peers; those without the ability are left out.
        work: The work. Calls are numbered on from round to round; all peers make the same ones.
        rounds: The rounds that count, after one to warm up.
        budget: Seconds after which a turn makes no further call.
    """
    able = [peer for peer in peers if work.ability in peer.abilities]
    say(f"{work.name}, {work.at_once} at once: {', '.join(peer.name for peer in able)}")
    quality = {peer.name: await work.judge(peer) for peer in able} if work.judge else {}
    turns = {peer.name: Turns(recall=quality.get(peer.name, (math.nan,))[0]) for peer in able}
    for round_ in range(rounds + 1):
        shift = round_ % len(able)
        for peer in able[shift:] + able[:shift]:
            latencies, took, settled = await turn(peer, work, round_ * work.calls, budget)
            if round_:
                done = len(latencies) * work.each
                turns[peer.name].latencies += latencies
                turns[peer.name].speeds.append(done / took)
                turns[peer.name].settled_speeds.append(done / settled)
    return Result(work, turns, quality)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of the ratios of all rounds."""
    return statistics.median(o / t for o, t in zip(ours, theirs, strict=True))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an aligned markdown table whose first column is text and the others are numbers."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    texts = {
        column
        for column in range(len(head))
        if column == 0 or any(_wordy(row[column]) for row in rows)
    }

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if column in texts else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    rule = [
        "-" * width if column in texts else "-" * (width - 1) + ":"
        for column, width in enumerate(widths)
    ]
    return "\n".join([line(head), f"| {' | '.join(rule)} |", *map(line, rows)])


def _wordy(cell: str) -> bool:
    return any(letter.isalpha() for letter in cell) and not cell[0].isdigit()
