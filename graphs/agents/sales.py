"""Sales: notes users' interests in buying, and searches earlier conversations."""

from graphs.agents.robotics import leads
from graphs.shapes.agent import agent_with_memory
from graphs.shapes.routing import Skill

skill = Skill(
    name="sales",
    description="Wishes to buy robots: interest, budget, timeline, quotes, offers and calls; "
    "what was said in earlier conversations with the customer.",
    examples=(
        "We are interested in buying two palletizing robots this year",
        "I would like a quote for a welding cell",
        "Our budget is $120,000 and we want to decide in spring",
        "Can somebody from sales call me?",
        "What did we discuss in our last conversation?",
        "Which of my purchase plans do you know?",
        "Please make me an offer with a volume discount",
        "We want to automate our packaging line next year",
        "I would like to buy three cobots",
        "Please put us down as interested",
        "Has anybody followed up on my inquiry?",
        "Let us arrange a demo with your team",
    ),
)

PROMPT = """\
You are the sales agent of a company that sells and finances industrial robots. Find out what \
the user wants to buy, what for, with which budget and when, and note it as a lead as soon as \
there is something to note. Refer to what was said before where it helps. Never promise prices \
or dates."""

graph = agent_with_memory(name=skill.name, prompt=PROMPT, tools=leads.tools())
