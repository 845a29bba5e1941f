"""Rules that choose the parameters of a vector index by the number of vectors."""

from math import isqrt
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from graphs.memory.errors import InvalidInput

Method = Literal["hnsw", "ivfflat"]

MOST_LISTS = 32_768
"""The most lists that an IVFFlat index can have."""

_GRAPHS = ((1_000_000, 10, 112), (10_000_000, 16, 128), (None, 24, 200))
"""Rows of (most vectors, m, ef_construction); None means no limit.

The first row is what `create_vector_index` makes, measured in `benchmarks.scale`. pgvector's
defaults are 16 and 64. Larger indexes need more of both: m costs memory, ef_construction costs
time to build.
"""


class IndexChoice(BaseModel):
    """The method and parameters of a vector index.

    A parameter that is None is chosen by the number of vectors.
    """

    model_config = ConfigDict(frozen=True)

    method: Method
    m: int | None = Field(
        default=None, description="HNSW: neighbours stored for each vector, 2 to 100."
    )
    ef_construction: int | None = Field(
        default=None,
        description="HNSW: candidates for neighbours, at least twice m, at most 1000.",
    )
    lists: int | None = Field(
        default=None, description="IVFFlat: lists that the vectors are divided into, 1 to 32768."
    )

    def __str__(self) -> str:
        """Return the method and parameters as one phrase."""
        if self.method == "ivfflat":
            return f"IVFFlat with {self.lists} list{'' if self.lists == 1 else 's'}"
        return f"HNSW with m {self.m} and ef_construction {self.ef_construction}"

    def check(self) -> None:
        """Check the parameters before pgvector does, which is hours into a build.

        Raises:
            InvalidInput: a parameter belongs to the other method, or is out of bounds.
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
        """Return a copy in which missing parameters are chosen for a number of vectors.

        Raises:
            InvalidInput: `ef_construction` is too small for the m that is chosen.
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
        """Return whether an existing index satisfies this choice.

        Named parameters must be equal. If none is named, the index must fit the number of vectors.
        """
        named = self.model_dump(exclude_none=True)
        if any(getattr(built, name) != value for name, value in named.items()):
            return False
        return len(named) > 1 or fits(built, vectors)


def wanted_by(vectors: int, method: Method) -> IndexChoice:
    """Return the recommended index of a method for a number of vectors.

    Lists follow pgvector's advice: vectors / 1000 up to a million vectors, their square root above.
    """
    if method == "ivfflat":
        lists = vectors // 1000 if vectors <= 1_000_000 else isqrt(vectors)
        return IndexChoice(method=method, lists=min(max(lists, 1), MOST_LISTS))
    m, ef_construction = next((m, ef) for most, m, ef in _GRAPHS if most is None or vectors <= most)
    return IndexChoice(method=method, m=m, ef_construction=ef_construction)


def fits(built: IndexChoice, vectors: int) -> bool:
    """Return whether an index suits a number of vectors.

    For IVFFlat, half to twice the recommended lists is close enough.
    """
    wanted = wanted_by(vectors, built.method)
    if built.method == "ivfflat":
        return (wanted.lists or 0) <= 2 * (built.lists or 0) <= 4 * (wanted.lists or 0)
    return (built.m or 0) >= (wanted.m or 0) and (built.ef_construction or 0) >= (
        wanted.ef_construction or 0
    )


def advice(built: IndexChoice, vectors: int) -> str:
    """Return one line: the recommended index and the command for it, or that the index fits."""
    if fits(built, vectors):
        return f"{built} for {vectors:,} vectors: as it should be."
    wanted = wanted_by(vectors, built.method)
    return (
        f"{vectors:,} vectors need {wanted}, and have {built}: "
        f"run `graph-memory indexes migrate --to {built.method}`."
    )
