"""mem0's library on pgvector with the offline embedding model, as in the benchmarks."""

import importlib
import os
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from graphs.offline.chat import OfflineChatModel
from graphs.offline.embeddings import OfflineEmbeddings


@asynccontextmanager
async def mem0_library(url: str, folder: Path) -> AsyncIterator[Any]:
    """Yield mem0's `AsyncMemory` on an empty database, with its history in `folder`/history.db."""
    os.environ.setdefault("MEM0_TELEMETRY", "False")  # mem0 reads it at import
    os.environ.setdefault("MEM0_DIR", str(folder))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mem0 = importlib.import_module("mem0")
    store = {
        "connection_string": url,
        "collection_name": "mem0",
        "embedding_model_dims": 256,
        "maxconn": 2,
    }
    memory = mem0.AsyncMemory.from_config(
        {
            "llm": {"provider": "langchain", "config": {"model": OfflineChatModel()}},
            "embedder": {
                "provider": "langchain",
                "config": {"model": OfflineEmbeddings(), "embedding_dims": 256},
            },
            "vector_store": {"provider": "pgvector", "config": store},
            "history_db_path": str(folder / "history.db"),
        }
    )
    try:
        yield memory
    finally:
        memory.vector_store.connection_pool.close()
        memory.close()
