"""Vectors as the database holds them, and the models that they belong to."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphs.memory.database.query import encode_array

Vector = bytes
"""A vector in the binary format of pgvector's `halfvec`."""


@dataclass(frozen=True, slots=True)
class Model:
    """An embedding model as the database knows it; `vector_type` is the OID of `halfvec` there."""

    id: int
    name: str
    dimensions: int
    vector_type: int

    def encode(self, vectors: Sequence[Vector]) -> bytes:
        """Return a list of vectors, which is not empty, as a parameter of type `halfvec[]`."""
        return encode_array(self.vector_type, vectors)


def to_vector(numbers: "np.ndarray[Any, np.dtype[np.float64]]") -> Vector:
    """Return a vector of unit length, which half precision never overflows; zero stays zero."""
    length = float(np.linalg.norm(numbers))
    halves = (numbers / length if length else numbers).astype(">f2")
    return struct.pack(">hh", numbers.size, 0) + halves.tobytes()
