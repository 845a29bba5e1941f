"""Encryption of a stream: decryption returns the same bytes, or raises an error."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs.operations.backup import seal as module
from graphs.operations.backup.seal import MAGIC, Sealing, Unsealing
from graphs.operations.errors import InvalidBackup

CHUNK = 64 * 1024
SEALED_CHUNK = CHUNK + 16
BEGIN = len(MAGIC) + 16


@pytest.fixture(scope="module", autouse=True)
def quick_keys() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(module._COST, "n", 2)
        yield


def seal(*parts: bytes) -> bytes:
    file = io.BytesIO()
    sealing = Sealing(file, b"secret")
    for part in parts:
        sealing.write(part)
    sealing.finish()
    return file.getvalue()


def unseal(content: bytes, secret: bytes = b"secret") -> bytes:
    unsealing: Any = Unsealing(io.BytesIO(content), secret)
    return io.BufferedReader(unsealing, 1000).read()


@given(st.lists(st.integers(0, 2 * CHUNK), max_size=4))
def test_whatever_is_sealed_in_whatever_parts_comes_out(sizes: list[int]) -> None:
    parts = [bytes([n]) * size for n, size in enumerate(sizes)]
    assert unseal(seal(*parts)) == b"".join(parts)


@pytest.mark.parametrize("size", [0, 1, CHUNK, 2 * CHUNK, 2 * CHUNK + 1])
def test_wherever_it_is_cut_it_is_refused(size: int) -> None:
    content = seal(b"x" * size)
    for end in {
        BEGIN + SEALED_CHUNK,
        BEGIN + 2 * SEALED_CHUNK,
        BEGIN,
        BEGIN + 1,
        BEGIN + 16,
        len(content) - 1,
    }:
        if end < len(content):
            with pytest.raises(InvalidBackup, match=r"truncated|damaged"):
                unseal(content[:end])


@given(st.integers(0, BEGIN + 2 * SEALED_CHUNK), st.integers(1, 255))
def test_whatever_is_changed_it_is_refused(at: int, bits: int) -> None:
    content = bytearray(seal(b"x" * (2 * CHUNK)))
    at %= len(content)
    content[at] ^= bits
    if at >= len(MAGIC):  # these bytes mark a file as encrypted
        with pytest.raises(InvalidBackup):
            unseal(bytes(content))


def test_chunks_of_another_file_or_place_are_refused() -> None:
    one, other = seal(b"x" * 3 * CHUNK), seal(b"x" * 3 * CHUNK)
    first, second = (
        one[BEGIN : BEGIN + SEALED_CHUNK],
        one[BEGIN + SEALED_CHUNK : BEGIN + 2 * SEALED_CHUNK],
    )
    rest = one[BEGIN + 2 * SEALED_CHUNK :]
    for content in (
        one[:BEGIN] + second + first + rest,
        one[:BEGIN] + first + rest,
        one[:BEGIN] + first + first + rest,
        other[:BEGIN] + first + second + rest,
        one[: BEGIN + SEALED_CHUNK] + other[BEGIN + SEALED_CHUNK :],
        one + second,
    ):
        with pytest.raises(InvalidBackup):
            unseal(content)


def test_another_secret_is_refused() -> None:
    with pytest.raises(InvalidBackup, match="passphrase or key"):
        unseal(seal(b"x"), b"another")
