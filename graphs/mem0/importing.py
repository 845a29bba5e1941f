"""Importing mem0: with its telemetry off, its folder where ours are, and other loggers left as they were."""

import logging
import os
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=1)
def import_mem0(folder: Path) -> None:
    """Import mem0, once, so that what is imported after it may import it, too.

    It takes a second and reads hundreds of files, which is why it waits until it is needed: call it from a thread.

    Args:
        folder: where mem0 may make the folder that it makes when it is imported.
    """
    os.environ.setdefault("MEM0_TELEMETRY", "False")
    os.environ.setdefault("MEM0_DIR", str(folder.absolute() / "mem0"))
    loggers = [logging.getLogger(name) for name in ("urllib3", "posthog")]
    levels = [logger.level for logger in loggers]
    import mem0  # noqa: F401

    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    logging.getLogger("mem0").setLevel(
        logging.CRITICAL
    )  # it logs texts, and what fails is reported by us
