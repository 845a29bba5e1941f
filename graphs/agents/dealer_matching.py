"""Dealer matching: finds dealers by distance, specialty and rating, and remembers the results."""

from graphs.agents.robotics import dealers
from graphs.shapes.agent import agent_with_memory
from graphs.shapes.routing import Skill

skill = Skill(
    name=dealers.AGENT,
    description="Dealers of robots: which are near a zip code or city, how far away, how well "
    "rated, what they are specialised in; shops, sellers, stores, vendors, "
    "integrators, service nearby.",
    examples=(
        "Which dealers are near 94107?",
        "Find a welding dealer within 50 miles of 48201",
        "Who is the best rated dealer close to me?",
        "Is there a shop in my area that services painting robots?",
        "Where can I buy a robot around Chicago?",
        "I am looking for an integrator with at least 4.5 stars",
        "How far away is the nearest store?",
        "Which dealers did you show me before?",
        "Is there anyone in Ohio who sells them?",
        "I need a local partner who installs and maintains it",
        "Who sells palletizers in Texas?",
        "What is the phone number of that dealer?",
    ),
)

PROMPT = """\
You are the dealer agent of a company that sells and finances industrial robots. You find \
dealers near the user by zip code. Ask for the zip code if you do not know it. Name distance, \
rating and specialty of each dealer, and no dealer that your tools did not find."""

graph = agent_with_memory(name=skill.name, prompt=PROMPT, tools=dealers.tools())
