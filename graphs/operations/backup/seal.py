"""Encryption of a stream: chunks of ChaCha20-Poly1305, each with its number and whether it is the last.

The construction is STREAM (Hoang, Reyhanitabar, Rogaway and Vizár, "Online Authenticated-Encryption and its
Nonce-Reuse Misuse-Resistance", CRYPTO 2015), with chunks of 64 KiB as the file format `age` has it. The key is made of
the secret and a salt of the file's own by scrypt (RFC 7914), so that no two files have one key and nonces can count.
"""

import hashlib
import io
import os
from functools import lru_cache
from typing import BinaryIO

from graphs.memory.errors import InvalidBackup
from graphs.memory.extras import extra

MAGIC = b"graph-native-memory/sealed/1\n"
"""How a sealed file begins."""

_SALT = 16
_CHUNK = 64 * 1024
_TAG = 16
_COST = {"n": 2**17, "r": 8, "p": 1, "maxmem": 256 * 1024 * 1024}
"""128 MiB and about half a second for each guess of a passphrase."""


@lru_cache(maxsize=64)
def _key(secret: bytes, salt: bytes) -> bytes:
    """The key of a file, which is opened twice: to be verified, and to be restored."""
    return hashlib.scrypt(secret, salt=salt, dklen=32, **_COST)


class _Cipher:
    """Numbers chunks. What a file begins with is authenticated by each of them."""

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
    """Encrypts what is written to it; `close` writes the last chunk, without which the file counts as cut short."""

    def __init__(self, file: BinaryIO, secret: bytes) -> None:
        salt = os.urandom(_SALT)
        self._file = file
        self._cipher = _Cipher(secret, salt)
        self._waiting = bytearray()
        file.write(MAGIC + salt)

    def writable(self) -> bool:
        """Return that it is."""
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # all that io has here
        """Take data, and write the chunks that are full."""
        self._waiting += data
        while len(self._waiting) > _CHUNK:
            self._file.write(self._cipher.seal(bytes(self._waiting[:_CHUNK]), last=False))
            del self._waiting[:_CHUNK]
        return len(data)

    def finish(self) -> None:
        """Write the last chunk."""
        self._file.write(self._cipher.seal(bytes(self._waiting), last=True))


class Unsealing(io.RawIOBase):
    """Decrypts what is read from it; nothing comes out that is not as it was sealed.

    Raises:
        InvalidBackup: when it is made or read: the secret is another one, or the file was changed or cut short.
    """

    def __init__(self, file: BinaryIO, secret: bytes) -> None:
        beginning = file.read(len(MAGIC) + _SALT)
        self._file = file
        self._cipher = _Cipher(secret, beginning[len(MAGIC) :])
        self._next = file.read(_CHUNK + _TAG)
        if not self._next:
            raise InvalidBackup("it is damaged, or was cut short")
        self._open = b""
        self._is_first = True

    def readable(self) -> bool:
        """Return that it is."""
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # all that io has here
        """Fill a buffer as far as one chunk does; 0 after the last."""
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
                "the passphrase or key is not the one it was made with, or its beginning is damaged"
                if self._is_first
                else "it is damaged, or was cut short"
            ) from None
        self._is_first = False
        return opened
