"""The cost of row-level security: the same signed-in work with and without its policies, in turns.

    .venv/bin/python -m benchmarks.rls [--items 20000] [--rounds 7] [--calls 200]

Two databases hold the same items. In one, row-level security is off on every table of the memory;
role, claims, history and audit stay. The ratio is the speed with the policies over the speed
without: 0.9 is a tenth slower.
"""

import argparse
import asyncio
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import psycopg

from benchmarks import loading
from benchmarks.corpus import Corpus
from benchmarks.measure import compare, ratio, table
from benchmarks.peers import OWN_ABILITIES, StorePeer, make_database, memory_store
from benchmarks.store import BATCH, PER_USER, batches, works

WITH, WITHOUT = "with policies", "without"
HEAD = ("work", "at once", f"p50 ms {WITH}", f"p50 ms {WITHOUT}", "ratio")

SWITCH_OFF = """
DO $$ DECLARE name text; BEGIN
  FOR name IN SELECT format('memory.%I', tablename) FROM pg_tables WHERE schemaname = 'memory' LOOP
    EXECUTE 'ALTER TABLE ' || name || ' DISABLE ROW LEVEL SECURITY';
  END LOOP;
END $$
"""


def switch_off(url: str) -> None:
    """Switch row-level security off on every table of a database."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(SWITCH_OFF)


async def measure(url: str, options: argparse.Namespace) -> list[list[str]]:
    """Load both databases, do every work on them in turns, and return the rows of the table."""
    fresh = (options.rounds + 1) * (2 * options.calls + batches(options.calls) * BATCH)
    corpus = Corpus([PER_USER] * max(1, options.items // PER_USER), fresh)
    urls = {name: make_database(url, name.replace(" ", "_")) for name in (WITH, WITHOUT)}
    async with (
        memory_store(urls[WITH], corpus.embeddings) as bound,
        memory_store(urls[WITHOUT], corpus.embeddings) as free,
    ):
        peers = [
            StorePeer(name, store, OWN_ABILITIES, signed_in=True)
            for name, store in ((WITH, bound), (WITHOUT, free))
        ]
        for store in (bound, free):
            await StorePeer("service", store).load(corpus.items)
        await asyncio.to_thread(switch_off, urls[WITHOUT])
        for name in urls.values():
            await asyncio.to_thread(loading.tidy, name)
        lines = []
        for work in works(corpus, options.rounds, options.calls):
            if work.ability in OWN_ABILITIES:
                turns = (await compare(peers, work, options.rounds, options.budget)).turns
                speeds = ratio(turns[WITH].speeds, turns[WITHOUT].speeds)
                medians = (f"{turns[name].percentile(50):.3f}" for name in (WITH, WITHOUT))
                lines.append([work.name, str(work.at_once), *medians, f"{speeds:.2f}"])
        return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--items", type=int, default=20_000, help="items in the database, 100 per user"
    )
    parser.add_argument(
        "--rounds", type=int, default=7, help="rounds that count; one more warms up"
    )
    parser.add_argument(
        "--calls",
        type=int,
        default=200,
        help="most calls of a round; a twentieth as many batches",
    )
    parser.add_argument(
        "--budget", type=float, default=4, help="seconds after which a round makes no further call"
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, loading.server(Path(folder), "1GB") as url:
        lines = asyncio.run(measure(url, options))
    print(table(HEAD, lines))
    print(
        f"\nAll works together: {statistics.geometric_mean(float(line[-1]) for line in lines):.2f}"
    )


if __name__ == "__main__":
    main()
