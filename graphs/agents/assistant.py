"""A general assistant that remembers."""

from graphs.nodes.respond import respond
from graphs.shapes.graph import with_memory

graph = with_memory(respond, name="assistant")
