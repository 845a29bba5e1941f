"""Locations of zip codes."""

import pytest

from graphs.agents.robotics.geography import place_of
from graphs.memory.errors import InvalidValue


async def test_a_zip_code_has_a_place() -> None:
    place = await place_of(" 48201 ")
    assert place.name == "Detroit, MI 48201"
    assert (round(place.latitude), round(place.longitude)) == (42, -83)


@pytest.mark.parametrize("unknown", ["00000", "99999", "", "9410", "abcde", "94107'; --"])
async def test_one_that_there_is_not_is_told_in_words(unknown: str) -> None:
    with pytest.raises(InvalidValue, match="is not a zip code of the United States") as refused:
        await place_of(unknown)
    assert refused.value.path == "zip_code"
