"""The supervisor: passes each message to the right agent, and remembers the choice."""

from graphs.agents import (
    dealer_matching,
    financing,
    knowledge,
    sales,
)
from graphs.shapes.supervisor import supervisor_of

graph = supervisor_of(
    {agent.skill: agent.graph for agent in (knowledge, financing, sales, dealer_matching)},
    name="supervisor",
)
