"""Which vector index a number of vectors wants: pure rules, each with where it comes from."""

from math import isqrt
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from graphs.memory.errors import InvalidInput

Method = Literal["hnsw", "ivfflat"]

MOST_LISTS = 32_768
"""More an IVFFlat index cannot have."""

_GRAPHS = ((1_000_000, 10, 112), (10_000_000, 16, 128), (None, 24, 200))
"""Up to how many vectors which m and ef_construction.

The first is what `create_vector_index` makes, measured in `benchmarks.scale`. pgvector's own are 16 and 64; larger ones
want more of both, of which m costs memory, and ef_construction time to build.
"""


class IndexChoice(BaseModel):
    """How a vector index is, or is to be made; what is None is decided by the number of vectors."""

    model_config = ConfigDict(frozen=True)

    method: Method
    m: int | None = Field(
        default=None, description="HNSW: neighbours that are kept for each vector, 2 to 100."
    )
    ef_construction: int | None = Field(
        default=None,
        description="HNSW: candidates from which they are chosen, at least twice as many, up to 1000.",
    )
    lists: int | None = Field(
        default=None, description="IVFFlat: parts that the vectors are divided into, 1 to 32768."
    )

    def __str__(self) -> str:
        """Return it as people say it."""
        if self.method == "ivfflat":
            return f"IVFFlat with {self.lists} list{'' if self.lists == 1 else 's'}"
        return f"HNSW with m {self.m} and ef_construction {self.ef_construction}"

    def check(self) -> None:
        """Refuse what pgvector would refuse after hours.

        Raises:
            InvalidInput: a parameter is of the other method, or out of its bounds.
        """
        if self.method == "hnsw" and self.lists is not None:
            raise InvalidInput("lists is a parameter of ivfflat; hnsw has m and ef_construction.")
        if self.method == "ivfflat" and (self.m is not None or self.ef_construction is not None):
            raise InvalidInput("m and ef_construction are parameters of hnsw; ivfflat has lists.")
        bounds = {"m": (2, 100), "ef_construction": (4, 1000), "lists": (1, MOST_LISTS)}
        for name, (least, most) in bounds.items():
            if (value := getattr(self, name)) is not None and not least <= value <= most:
                raise InvalidInput(f"{name} must be between {least} and {most}; got {value}.")
        if self.ef_construction is not None and self.ef_construction < 2 * (self.m or 0):
            raise InvalidInput(
                f"ef_construction must be at least twice m, {2 * (self.m or 0)} or more."
            )

    def completed(self, vectors: int) -> "IndexChoice":
        """Return it with what was left open decided by a number of vectors.

        Raises:
            InvalidInput: ef_construction is too small for the m that so many vectors want.
        """
        wanted = wanted_by(vectors, self.method)
        if self.method == "ivfflat":
            return self.model_copy(update={"lists": self.lists or wanted.lists})
        m = self.m or wanted.m or 0
        whole = self.model_copy(
            update={
                "m": m,
                "ef_construction": self.ef_construction or max(wanted.ef_construction or 0, 2 * m),
            }
        )
        whole.check()
        return whole

    def asks_for(self, built: "IndexChoice", vectors: int) -> bool:
        """Return whether an index is what is asked for: as named, and where nothing was named as so many want it."""
        named = self.model_dump(exclude_none=True)
        if any(getattr(built, name) != value for name, value in named.items()):
            return False
        return len(named) > 1 or fits(built, vectors)


def wanted_by(vectors: int, method: Method) -> IndexChoice:
    """Return the index of a method that so many vectors want.

    Lists are pgvector's advice: a thousandth of the vectors up to a million of them, from there on their square root.
    """
    if method == "ivfflat":
        lists = vectors // 1000 if vectors <= 1_000_000 else isqrt(vectors)
        return IndexChoice(method=method, lists=min(max(lists, 1), MOST_LISTS))
    m, ef_construction = next((m, ef) for most, m, ef in _GRAPHS if most is None or vectors <= most)
    return IndexChoice(method=method, m=m, ef_construction=ef_construction)


def fits(built: IndexChoice, vectors: int) -> bool:
    """Return whether an index is as so many vectors want it; one of half or twice the lists is near enough."""
    wanted = wanted_by(vectors, built.method)
    if built.method == "ivfflat":
        return (wanted.lists or 0) <= 2 * (built.lists or 0) <= 4 * (wanted.lists or 0)
    return (built.m or 0) >= (wanted.m or 0) and (built.ef_construction or 0) >= (
        wanted.ef_construction or 0
    )


def advice(built: IndexChoice, vectors: int) -> str:
    """Return one line: what so many vectors want and the command that makes it, or that it is as it should be."""
    if fits(built, vectors):
        return f"{built} for {vectors:,} vectors: as it should be."
    wanted = wanted_by(vectors, built.method)
    return f"{vectors:,} vectors want {wanted}, and have {built}: `graph-memory indexes migrate --to {built.method}`."
