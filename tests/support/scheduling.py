"""The distribution of tests to processes, where several share them."""

from xdist.scheduler import LoadFileScheduling

_SHARED_SERVERS = (
    ("tests/server/", "tests/browser/"),
    ("tests/attacks/test_server.py", "tests/attacks/test_tokens.py"),
)
"""Tests that share a server: it takes seconds of CPU to start, and each process would start one."""


class SharingServers(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """A scheduler that gives each file, and all files that share a server, to one process."""

    def _split_scope(self, nodeid: str) -> str:
        for paths in _SHARED_SERVERS:
            if nodeid.startswith(paths):
                return " ".join(paths)
        return str(super()._split_scope(nodeid))
