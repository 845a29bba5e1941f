"""Optional dependencies: the extras of `pyproject.toml`."""

from collections.abc import Iterator
from contextlib import contextmanager

from graphs.memory.errors import MissingExtra


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Name the extra to install if an import inside the block finds no module.

    Raises:
        MissingExtra: a module of somebody else's is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = error.name or str(error)
        if module.partition(".")[0] == "graphs":  # ours is deleted or misspelt, not left out
            raise
        raise MissingExtra(name, module) from error
