"""A general assistant with memory."""

from graphs.nodes.respond import respond
from graphs.shapes.graph import with_memory

graph = with_memory(respond, name="assistant")
