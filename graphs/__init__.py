"""Graph-Native Memory: long-term memory as part of the LangGraph graph.

Everything that applications import is named here. Each name is imported when it is first used,
so that a store loads neither agents nor a server.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphs.checkpointer import open_checkpointer
    from graphs.composition import open_store
    from graphs.mem0.extractor import Mem0Extractor
    from graphs.memory import errors
    from graphs.memory.contract import MemoryContext, MemoryPayload, RecalledMemory, WriteReceipt
    from graphs.memory.errors import (
        AccessDenied,
        ConfigurationError,
        GraphMemoryError,
        InvalidInput,
        MissingExtra,
        PrincipalRequired,
        SetupRequired,
        StoreUnavailable,
        VersionConflict,
    )
    from graphs.memory.jobs.tasks import Timing
    from graphs.memory.moment import NOW, as_of
    from graphs.memory.principal import Principal, acting_as
    from graphs.memory.rights.retention import Keeping
    from graphs.memory.search.embeddings import MemoryIndexConfig
    from graphs.memory.search.ranking import Weights
    from graphs.memory_manager import MemoryManager
    from graphs.nodes.load_context import load_context
    from graphs.nodes.write_memory import write_memory
    from graphs.offline.embeddings import OfflineEmbeddings
    from graphs.retriever import MemoryRetriever
    from graphs.shapes.agent import agent_with_memory
    from graphs.shapes.graph import with_memory
    from graphs.shapes.supervisor import supervisor_of
    from graphs.tools import memory_tools

    __version__: str

__all__ = [
    "NOW",
    "AccessDenied",
    "ConfigurationError",
    "GraphMemoryError",
    "InvalidInput",
    "Keeping",
    "Mem0Extractor",
    "MemoryContext",
    "MemoryIndexConfig",
    "MemoryManager",
    "MemoryPayload",
    "MemoryRetriever",
    "MissingExtra",
    "OfflineEmbeddings",
    "Principal",
    "PrincipalRequired",
    "RecalledMemory",
    "SetupRequired",
    "StoreUnavailable",
    "Timing",
    "VersionConflict",
    "Weights",
    "WriteReceipt",
    "acting_as",
    "agent_with_memory",
    "as_of",
    "errors",
    "load_context",
    "memory_tools",
    "open_checkpointer",
    "open_store",
    "supervisor_of",
    "with_memory",
    "write_memory",
]

_NAMES = {
    "graphs.checkpointer": ("open_checkpointer",),
    "graphs.composition": ("open_store",),
    "graphs.mem0.extractor": ("Mem0Extractor",),
    "graphs.memory.contract": ("MemoryContext", "MemoryPayload", "RecalledMemory", "WriteReceipt"),
    "graphs.memory.errors": (
        "AccessDenied",
        "ConfigurationError",
        "GraphMemoryError",
        "InvalidInput",
        "MissingExtra",
        "PrincipalRequired",
        "SetupRequired",
        "StoreUnavailable",
        "VersionConflict",
    ),
    "graphs.memory.jobs.tasks": ("Timing",),
    "graphs.memory.moment": ("NOW", "as_of"),
    "graphs.memory.principal": ("Principal", "acting_as"),
    "graphs.memory.rights.retention": ("Keeping",),
    "graphs.memory.search.embeddings": ("MemoryIndexConfig",),
    "graphs.memory.search.ranking": ("Weights",),
    "graphs.memory_manager": ("MemoryManager",),
    "graphs.nodes.load_context": ("load_context",),
    "graphs.nodes.write_memory": ("write_memory",),
    "graphs.offline.embeddings": ("OfflineEmbeddings",),
    "graphs.retriever": ("MemoryRetriever",),
    "graphs.shapes.agent": ("agent_with_memory",),
    "graphs.shapes.graph": ("with_memory",),
    "graphs.shapes.supervisor": ("supervisor_of",),
    "graphs.tools": ("memory_tools",),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used.

    Raises:
        MissingExtra: an optional dependency is not installed; the message says which.
    """
    if name == "__version__":
        from importlib.metadata import version  # late: it costs as much as a small package

        return version("graph-native-memory")
    if name == "errors":
        return import_module("graphs.memory.errors")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, "__version__"])
