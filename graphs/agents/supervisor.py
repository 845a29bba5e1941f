"""The supervisor: hands each message to the agent that it is for, and remembers which one that was."""

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
