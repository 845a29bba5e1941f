"""Import of mem0: no telemetry, its folder among ours, and no side effects on loggers."""

import logging
import os
from functools import lru_cache
from pathlib import Path

from graphs.memory.extras import extra


@lru_cache(maxsize=1)
def import_mem0(folder: Path) -> None:
    """Import mem0 once. Modules that are imported afterwards may import it, too.

    The import takes a second and reads hundreds of files, so it is done late: call it from a
    thread.

    Args:
        folder: the parent of the folder that mem0 makes when it is imported.
    """
    os.environ.setdefault("MEM0_TELEMETRY", "False")
    os.environ.setdefault("MEM0_DIR", str(folder.absolute() / "mem0"))
    loggers = [logging.getLogger(name) for name in ("urllib3", "posthog")]
    levels = [logger.level for logger in loggers]
    with extra("server"):
        import mem0  # noqa: F401

    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    # mem0 logs users' texts. Its failures are reported by the callers.
    logging.getLogger("mem0").setLevel(logging.CRITICAL)
