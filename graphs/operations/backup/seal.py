"""Encryption of a stream in chunks of ChaCha20-Poly1305, each bound to its number and to the end.

The construction is STREAM (Hoang, Reyhanitabar, Rogaway and Vizár, "Online
Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", CRYPTO 2015), with chunks of
64 KiB as in the file format `age`. The key is derived by scrypt (RFC 7914) from the secret and a
salt of each file. So no two files have the same key, and nonces can be counters.
"""

import hashlib
import io
import os
from functools import lru_cache
from typing import BinaryIO

from graphs.memory.extras import extra
from graphs.operations.errors import InvalidBackup

MAGIC = b"graph-native-memory/sealed/1\n"
"""The first bytes of an encrypted file."""

_SALT = 16
_CHUNK = 64 * 1024
_TAG = 16
_COST = {"n": 2**17, "r": 8, "p": 1, "maxmem": 256 * 1024 * 1024}
"""scrypt's cost: 128 MiB and about half a second for each guess of a passphrase."""


@lru_cache(maxsize=64)
def _key(secret: bytes, salt: bytes) -> bytes:
    """Return the key of a file. Cached, because a restore opens each file twice."""
    return hashlib.scrypt(secret, salt=salt, dklen=32, **_COST)


class _Cipher:
    """Encrypts and decrypts numbered chunks. Each chunk also authenticates the file's header."""

    def __init__(self, secret: bytes, salt: bytes) -> None:
        # Late: only a backup under a passphrase needs ciphers.
        with extra("server"):
            from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        self._aead = ChaCha20Poly1305(_key(secret, salt))
        self._beginning = MAGIC + salt
        self._number = 0

    def _nonce(self, *, last: bool) -> bytes:
        nonce = self._number.to_bytes(11, "big") + bytes([last])
        self._number += 1
        return nonce

    def seal(self, chunk: bytes, *, last: bool) -> bytes:
        return self._aead.encrypt(self._nonce(last=last), chunk, self._beginning)

    def open(self, chunk: bytes, *, last: bool) -> bytes:
        return self._aead.decrypt(self._nonce(last=last), chunk, self._beginning)


class Sealing(io.RawIOBase):
    """Encrypts what is written to it.

    `finish` writes the last chunk. Without it, the file counts as truncated.
    """

    def __init__(self, file: BinaryIO, secret: bytes) -> None:
        salt = os.urandom(_SALT)
        self._file = file
        self._cipher = _Cipher(secret, salt)
        self._waiting = bytearray()
        file.write(MAGIC + salt)

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # all that io has here
        """Buffer data, and write full chunks."""
        self._waiting += data
        while len(self._waiting) > _CHUNK:
            self._file.write(self._cipher.seal(bytes(self._waiting[:_CHUNK]), last=False))
            del self._waiting[:_CHUNK]
        return len(data)

    def finish(self) -> None:
        """Write the last chunk."""
        self._file.write(self._cipher.seal(bytes(self._waiting), last=True))


class Unsealing(io.RawIOBase):
    """Decrypts what is read from it. Only authenticated data comes out.

    Raises:
        InvalidBackup: on creation or reading, if the secret is wrong, or the file was changed or
            truncated.
    """

    def __init__(self, file: BinaryIO, secret: bytes) -> None:
        beginning = file.read(len(MAGIC) + _SALT)
        self._file = file
        self._cipher = _Cipher(secret, beginning[len(MAGIC) :])
        self._next = file.read(_CHUNK + _TAG)
        if not self._next:
            raise InvalidBackup("it is damaged or truncated")
        self._open = b""
        self._is_first = True

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # all that io has here
        """Fill a buffer with at most one chunk; 0 at the end."""
        while not self._open and self._next:
            self._open = self._opened()
        part = self._open[: len(buffer)]
        buffer[: len(part)] = part
        self._open = self._open[len(part) :]
        return len(part)

    def _opened(self) -> bytes:
        from cryptography.exceptions import InvalidTag

        chunk, self._next = self._next, self._file.read(_CHUNK + _TAG)
        try:
            opened = self._cipher.open(chunk, last=not self._next)
        except InvalidTag:
            raise InvalidBackup(
                "the passphrase or key is wrong, or its beginning is damaged"
                if self._is_first
                else "it is damaged or truncated"
            ) from None
        self._is_first = False
        return opened
