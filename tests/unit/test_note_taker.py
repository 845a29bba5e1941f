"""Sentences of a message that the note-taker keeps as facts."""

import pytest

from graphs.memory.facts.note_taker import worth_remembering


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("My budget is 80k.", ["My budget is 80k."]),
        ("Hi! My name is Ada. What is yours?", ["My name is Ada."]),
        ("what is my budget?", []),
        ("Do you know my dog", []),
        ("Tell me about my options", []),
        ("Please remember that the gate code is 4711.", ["the gate code is 4711."]),
        ("Remember my gate code is 4711", ["my gate code is 4711"]),
        ("The sky is blue.", []),
        ("Thanks!", []),
        ("I am", []),
        (
            "We pay 3.5 percent at example.com and we like it.",
            ["We pay 3.5 percent at example.com and we like it."],
        ),
        ("My car is red. My car is red.", ["My car is red."]),
        ("My car is red\nOur house is old", ["My car is red", "Our house is old"]),
        ("", []),
        ("???", []),
    ],
)
def test_statements_about_the_user_are_kept_and_nothing_else(text: str, facts: list[str]) -> None:
    assert worth_remembering(text) == facts
