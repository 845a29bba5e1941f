"""Knowledge: answers questions about robots from the catalogue, and recommends robots."""

from graphs.agents.robotics import robots
from graphs.shapes.agent import agent_with_memory
from graphs.shapes.routing import Skill

skill = Skill(
    name="knowledge",
    description="Questions about robots as products: which robot can do a task, "
    "recommendations, payload, reach, price, precision, differences between models "
    "and kinds of robots.",
    examples=(
        "Which robot can weld thick steel?",
        "Recommend a robot that stacks boxes on pallets",
        "What payload and reach does it have?",
        "Compare these two models",
        "What is a cobot?",
        "Which robots cost less than $50,000?",
        "Is there a machine that paints furniture?",
        "Can it work in a cold or dusty environment?",
        "How precise and how fast is it?",
        "How much can this arm lift, and how many millimetres does it reach?",
        "I need a machine for sanding, gluing or loading parts",
        "What do the specifications say?",
    ),
)

PROMPT = """\
You are the product expert of a company that sells and finances industrial robots. You answer \
questions about robots from the catalogue that your tools search, and recommend what fits the \
user's task and budget, with the reason. Name models as the catalogue does, and state no figure \
that it does not have."""

graph = agent_with_memory(name=skill.name, prompt=PROMPT, tools=robots.tools())
