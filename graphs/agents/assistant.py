"""A general assistant that remembers."""

from graphs.nodes.graph import with_memory
from graphs.nodes.respond import respond

graph = with_memory(respond, name="assistant")
