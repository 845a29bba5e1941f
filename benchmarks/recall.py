"""Recall of the turns that answer a question: LoCoMo conversations on all systems, in one run.

    .venv/bin/python -m benchmarks.recall --data DIR [--per-conversation] [--chart recall.svg]

DIR holds `*.json` files, each a conversation: `session_N` (turns with `speaker`, `dia_id`, `text`,
and perhaps the caption of a picture), `session_N_date_time`, and `qa`: questions with the `dia_id`s
of the turns that answer them. LoCoMo is on GitHub (snap-research/locomo, CC BY-NC 4.0). Its ten
conversations come as one file, which must be split into one file each.

Each turn is an item "<speaker> (<date>): <text> [image: <caption>]" in the namespace of its
conversation. Items are put in their order, in one batch per session. Each question is one search
for 20 items in that namespace. Questions of category 5 have no answer and are left out, as are
questions whose evidence is empty or not in the conversation.

Every system uses the same offline embedding model, with precomputed vectors: latencies are those of
the store. No language model is called.
"""

import argparse
import asyncio
import json
import re
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from langgraph.store.base import BaseStore, PutOp

from benchmarks import loading
from benchmarks.chart import bars
from benchmarks.corpus import Precomputed, user_id
from benchmarks.measure import table
from benchmarks.peers import (
    HYBRID,
    UPSTREAM,
    Mem0Peer,
    make_database,
    mem0_peer,
    memory_store,
    upstream_store,
)
from benchmarks.progress import Progress, say
from graphs.memory.principal import Principal, acting_as

LIMIT = 20
CATEGORIES = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop"}
PLAIN = "MemoryManager, vector"
METRICS = ("R@5", "R@10", "R@20", "hit@10", "MRR")

Turn = tuple[str, str]
"""A turn's id and its text as it is stored."""
Search = Callable[[int, str], Awaitable[list[str]]]
"""A function that returns the turns found for a question of a conversation, best first."""


@dataclass(frozen=True, slots=True)
class Question:
    conversation: int
    text: str
    evidence: frozenset[str]
    category: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of one search: its metrics by name, and its seconds."""

    question: Question
    metrics: dict[str, float]
    seconds: float


@dataclass(frozen=True, slots=True)
class Data:
    """Conversations as sessions of turns, the questions that count, and why others do not."""

    names: list[str]
    conversations: list[list[list[Turn]]]
    questions: list[Question]
    left_out: Counter[str]


def read(folder: Path) -> Data:
    """Read every conversation of a folder.

    Raises:
        SystemExit: If the folder holds none.
    """
    data = Data([], [], [], Counter())
    for n, file in enumerate(sorted(folder.glob("*.json"))):
        told = json.loads(file.read_text(encoding="utf-8"))
        sessions = [_session(told, number) for number in _session_numbers(told)]
        ids = {turn_id for session in sessions for turn_id, _ in session}
        data.names.append(file.stem)
        data.conversations.append(sessions)
        for asked in told["qa"]:
            evidence = frozenset(asked.get("evidence") or ())
            if asked["category"] not in CATEGORIES:
                data.left_out["without an answer (category 5)"] += 1
            elif not evidence:
                data.left_out["without evidence"] += 1
            elif not evidence <= ids:
                data.left_out["with evidence that is not in the conversation"] += 1
            else:
                data.questions.append(
                    Question(n, asked["question"], evidence, CATEGORIES[asked["category"]])
                )
    if not data.questions:
        raise SystemExit(
            f"No conversation with questions in {folder}: "
            "it must hold *.json files in LoCoMo's format."
        )
    return data


def _session_numbers(told: dict[str, Any]) -> list[int]:
    return sorted(int(found[1]) for name in told if (found := re.fullmatch(r"session_(\d+)", name)))


def _session(told: dict[str, Any], number: int) -> list[Turn]:
    # A date looks like "1:56 pm on 8 May, 2023".
    date = str(told.get(f"session_{number}_date_time", "")).rpartition(" on ")[2]
    turns = []
    for turn in told[f"session_{number}"]:
        caption = f" [image: {turn['blip_caption']}]" if turn.get("blip_caption") else ""
        turns.append((turn["dia_id"], f"{turn['speaker']} ({date}): {turn['text']}{caption}"))
    return turns


def namespace(conversation: int) -> tuple[str, ...]:
    return ("users", user_id(conversation), "turns")


async def fill_store(store: BaseStore, data: Data) -> Search:
    """Put all conversations into a LangGraph store, one user each; return its search function."""
    for n, sessions in enumerate(data.conversations):
        with acting_as(Principal.user(user_id(n))):
            for session in sessions:
                await store.abatch(
                    [PutOp(namespace(n), turn_id, {"text": text}) for turn_id, text in session]
                )

    async def search(conversation: int, text: str) -> list[str]:
        with acting_as(Principal.user(user_id(conversation))):
            found = await store.asearch(namespace(conversation), query=text, limit=LIMIT)
        return [item.key for item in found]

    if wait := getattr(store, "wait_until_indexed", None):
        await wait()
    return search


async def fill_mem0(peer: Mem0Peer, data: Data) -> Search:
    """Add all conversations to mem0, one user each; return its search function."""
    turn_ids: dict[str, str] = {}
    for n, sessions in enumerate(data.conversations):
        for session in sessions:
            added = await peer.add(user_id(n), [text for _, text in session])
            turn_ids.update(zip(added, (turn_id for turn_id, _ in session), strict=True))

    async def search(conversation: int, text: str) -> list[str]:
        return [
            turn_ids[found]
            for found in await peer.ids(text, {"user_id": user_id(conversation)}, LIMIT)
        ]

    return search


def judge(question: Question, found: Sequence[str], seconds: float) -> Answer:
    """Compare the results of a search with the evidence."""
    ranks = [rank for rank, turn_id in enumerate(found, 1) if turn_id in question.evidence]

    def recall(k: int) -> float:
        return sum(rank <= k for rank in ranks) / len(question.evidence)

    metrics = (
        recall(5),
        recall(10),
        recall(20),
        float(any(r <= 10 for r in ranks)),
        1 / ranks[0] if ranks else 0.0,
    )
    return Answer(question, dict(zip(METRICS, metrics, strict=True)), seconds)


async def ask(searches: dict[str, Search], data: Data) -> dict[str, list[Answer]]:
    """Ask every system every question, one after the other; the order of systems rotates."""
    answers: dict[str, list[Answer]] = {name: [] for name in searches}
    names = list(searches)
    for question in data.questions[:20]:  # the first searches of a connection are slower
        for name in names:
            await searches[name](question.conversation, question.text)
    with Progress("asking", len(data.questions)) as progress:
        for n, question in enumerate(data.questions):
            shift = n % len(names)
            for name in names[shift:] + names[:shift]:
                began = time.perf_counter()
                found = await searches[name](question.conversation, question.text)
                answers[name].append(judge(question, found, time.perf_counter() - began))
            progress.advance(1)
    return answers


async def measure(url: str, data: Data, folder: Path) -> dict[str, list[Answer]]:
    """Fill all systems, each on its own database, and ask them."""
    texts = [text for sessions in data.conversations for session in sessions for _, text in session]
    embeddings = Precomputed([*texts, *(question.text for question in data.questions)])
    urls = {name: make_database(url, name) for name in ("upstream", "mem0", "vector", "hybrid")}
    async with AsyncExitStack() as stack:
        open_ = stack.enter_async_context
        stores: dict[str, BaseStore] = {
            UPSTREAM: await open_(upstream_store(urls["upstream"], embeddings)),
            PLAIN: await open_(memory_store(urls["vector"], embeddings)),
            HYBRID: await open_(memory_store(urls["hybrid"], embeddings, hybrid=True)),
        }
        searches = {}
        for name, store in stores.items():
            say(f"{name}: putting {len(texts):,} turns")
            searches[name] = await fill_store(store, data)
        if mem0 := await open_(mem0_peer(urls["mem0"], embeddings, folder)):
            say(f"mem0: adding {len(texts):,} turns")
            searches[mem0.name] = await fill_mem0(mem0, data)
        else:
            print("mem0 is left out: it is not installed here (see benchmarks/peers.py).\n")
        for database in urls.values():
            await asyncio.to_thread(loading.tidy, database)
        return await ask(searches, data)


def mean(answers: Sequence[Answer], metric: str) -> float:
    """Return the mean of a metric in percent."""
    return 100 * statistics.mean(answer.metrics[metric] for answer in answers)


def overall(answers: dict[str, list[Answer]]) -> str:
    rows = []
    for name, given in answers.items():
        p50, p95 = np.percentile([answer.seconds * 1000 for answer in given], (50, 95))
        rows.append(
            [
                name,
                *(f"{mean(given, metric):.1f}" for metric in METRICS),
                f"{p50:.1f}",
                f"{p95:.1f}",
            ]
        )
    return table(["percent", *METRICS, "p50 ms", "p95 ms"], rows)


def split(
    answers: dict[str, list[Answer]], groups: Sequence[str], of: Callable[[Question], str]
) -> str:
    """Return a table of recall@10 with one column per group of questions."""
    (first, *_) = answers.values()
    counts = Counter(of(answer.question) for answer in first)
    present = [group for group in groups if counts[group]]
    rows = [["questions", *(str(counts[group]) for group in present)]]
    for name, given in answers.items():
        parts = ([answer for answer in given if of(answer.question) == group] for group in present)
        rows.append([name, *(f"{mean(part, 'R@10'):.1f}" for part in parts)])
    return table(["R@10, percent", *present], rows)


def draw(answers: dict[str, list[Answer]]) -> str:
    """Return the bar chart: recall@10 of all questions and of each category."""
    (first, *_) = answers.values()
    present = [
        name
        for name in CATEGORIES.values()
        if any(answer.question.category == name for answer in first)
    ]
    series = {
        name: [
            mean(given, "R@10"),
            *(
                mean([a for a in given if a.question.category == category], "R@10")
                for category in present
            ),
        ]
        for name, given in answers.items()
    }
    return bars(
        "Evidence found among the first ten, percent (recall@10)", ["all", *present], series
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark, print its tables and draw the chart."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a folder of conversations")
    parser.add_argument(
        "--per-conversation", action="store_true", help="also print a table by conversation"
    )
    parser.add_argument("--chart", type=Path, help="an SVG file for the chart")
    parser.add_argument(
        "--shared-buffers", default="", help="shared_buffers of the server; empty for its default"
    )
    options = parser.parse_args(arguments)
    data = read(options.data)
    turns = sum(len(session) for sessions in data.conversations for session in sessions)
    print(f"{len(data.names)} conversations, {turns:,} turns, {len(data.questions)} questions.")
    print(
        "Left out: "
        + (", ".join(f"{count} {why}" for why, count in data.left_out.items()) or "none")
        + "."
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        loading.server(Path(folder), options.shared_buffers) as url,
    ):
        print(
            "; ".join(f"{name} {value}" for name, value in loading.circumstances(url).items())
            + "\n"
        )
        answers = asyncio.run(measure(url, data, Path(folder)))
    print(overall(answers), "\n")
    print(split(answers, list(CATEGORIES.values()), lambda question: question.category))
    if options.per_conversation:
        print("\n" + split(answers, data.names, lambda question: data.names[question.conversation]))
    if options.chart:
        options.chart.write_text(draw(answers), encoding="utf-8")


if __name__ == "__main__":
    main()
