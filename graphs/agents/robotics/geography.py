"""Places of zip codes of the United States, from the package `zipcodes`."""

import asyncio
import re
from dataclasses import dataclass
from functools import lru_cache

from graphs.memory.errors import InvalidValue
from graphs.memory.extras import extra

with extra("agents"):
    import zipcodes

_ZIP_CODE = re.compile(r"[0-9]{5}")


@dataclass(frozen=True, slots=True)
class ZipPlace:
    """The centre of a zip code's area; degrees north and east."""

    zip_code: str
    city: str
    state: str
    latitude: float
    longitude: float

    @property
    def name(self) -> str:
        """Return the place as people write it: `Detroit, MI 48201`."""
        return f"{self.city}, {self.state} {self.zip_code}"


async def place_of(zip_code: str) -> ZipPlace:
    """Return the place of a zip code.

    The package reads its data at the first call, so the lookup runs in a thread.

    Raises:
        InvalidValue: there is no such zip code; the message may be shown to the user.
    """
    return await asyncio.to_thread(_look_up, zip_code.strip())


@lru_cache(maxsize=4096)
def _look_up(zip_code: str) -> ZipPlace:
    known = zipcodes.matching(zip_code) if _ZIP_CODE.fullmatch(zip_code) else ()  # type: ignore[no-untyped-call]
    if not known:
        raise InvalidValue("zip_code", f"{zip_code!r} is not a zip code of the United States.")
    found = known[0]
    return ZipPlace(
        zip_code, found["city"], found["state"], float(found["lat"]), float(found["long"])
    )
