"""Financing: applies for credit on a robot, and explains an application's score."""

from graphs.agents.robotics import applications
from graphs.shapes.agent import agent_with_memory
from graphs.shapes.routing import Skill

skill = Skill(
    name="financing",
    description="Applications for financing of robots: loans, credit, leases, terms, monthly "
    "payments, approval, and how an application is scored.",
    examples=(
        "Can I finance a robot for $85,000 over 48 months?",
        "What is the status of my application?",
        "Why was my application declined?",
        "Score my application",
        "How was I scored in the past?",
        "We want to lease two robots. What would the monthly payment be?",
        "Would we qualify for credit with 1.2 million in annual revenue?",
        "How much down payment do I need for the loan?",
        "Which interest and terms would a young company get from you?",
        "What is my score based on?",
        "We need to borrow money for the purchase",
        "Show my past requests and decisions",
    ),
)

PROMPT = """\
You are the financing agent of a company that sells and finances industrial robots. You take \
applications, tell how they stand, and explain their scores. Only your tools know applications \
and scores: never make up either, and never promise an approval. Before you apply for somebody, \
ask for what is missing: amount, term, down payment, annual revenue, years in business."""

graph = agent_with_memory(name=skill.name, prompt=PROMPT, tools=applications.tools())
