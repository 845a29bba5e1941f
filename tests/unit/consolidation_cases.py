"""What somebody said first, what they say now, and what should become of the two. Written by hand.

`HELD_OUT` was written before the rules were, and the rules were never changed to fit it.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

Expected = Literal["new", "unsure", "duplicate", "supersedes", "past"]
"""`unsure`: new, and a judge should say what it means for the known one."""

THEN = datetime(2024, 6, 1, 10, tzinfo=UTC)
NOW = datetime(2024, 9, 1, 10, tzinfo=UTC)


@dataclass(frozen=True)
class Case:
    """Known facts and a new one.

    Args:
        expected: what the new fact is to the known one.
        known: the fact that is concerned, if any is.
        new: what is said now.
        beside: other known facts, which must be left alone.
        after: how long after the known facts the new one was said; negative where it is older.
        similarity: cosine of the new fact and the known one.
    """

    expected: Expected
    known: str
    new: str
    beside: tuple[str, ...] = ()
    after: timedelta = NOW - THEN
    similarity: float = 0.8


SOON = timedelta(minutes=2)
AT_ONCE = timedelta(0)
EARLIER = timedelta(days=-400)


def _cases(expected: Expected, *rows: tuple[str, str]) -> list[Case]:
    return [Case(expected, known, new) for known, new in rows]


TUNED = [
    *_cases(
        "supersedes",
        ("My budget is 80k", "My budget is 120k"),
        ("My budget is 80k", "My budget is now 120k."),
        ("My budget is 80k", "my new budget is 120,000"),
        ("My budget is $80k", "My budget went up to $120k"),
        ("User's budget is 80k", "User's budget changed to 120k"),
        ("My budget is 80k", "User's budget is 120k"),
        ("My budget for the robot is 80k", "My robot budget is now 95k"),
        ("My budget is 80k", "Actually, my budget is 120k"),
        ("My budget is 80k", "My budget is 120k instead of 80k"),
        ("My budget is 80k", "My budget was raised to 120k"),
        ("I live in Lyon", "I live in Berlin"),
        ("I live in Lyon", "I moved to Berlin"),
        ("User lives in Lyon", "The user moved to Berlin in July 2024"),
        ("I live in Lyon", "I've moved from Lyon to Croydon"),
        ("I live in Lyon, France", "I now live in Berlin, Germany"),
        ("I work at Siemens", "I work at Bosch now"),
        ("User works at Siemens", "User works for Bosch"),
        ("Anna works at Siemens", "Anna now works at Bosch"),
        ("My job title is engineer", "My job title is senior engineer now"),
        ("I am 34 years old", "I'm 35"),
        ("User is 34 years old", "User is 35 years old"),
        ("Anna's birthday is May 4", "Anna's birthday is May 5th"),
        ("My email is anna@example.com", "My email address is a.meier@example.org"),
        ("My work email is anna@acme.com", "My new work e-mail is anna@bosch.com"),
        ("My phone number is 555-1234-00", "My phone number is now 555 9876 11"),
        ("I am single", "I'm married"),
        ("User is married", "User got divorced"),
        ("My favourite colour is blue", "My favorite color is green"),
        ("User's favorite movie is Alien", "User's favorite movie is Heat"),
        ("I prefer tea over coffee", "I prefer coffee over tea"),
        ("I prefer tea", "I prefer coffee to tea now"),
        ("My car is a Tesla", "My car is now a BMW"),
        ("My name is Anna Meier", "I changed my name to Anna Schulz"),
        ("I weigh 82 kg", "I weigh 78 kg now"),
        ("My brother's budget is 50k", "My brother's budget is now 60k"),
    ),
    # Negations of what is known.
    *_cases(
        "supersedes",
        ("I eat meat", "I no longer eat meat"),
        ("I like tea", "I don't like tea any more"),
        ("User likes tea", "User does not like tea anymore"),
        ("User eats meat", "I stopped eating meat"),
        ("I smoke", "I quit smoking"),
        ("I work at Siemens", "I no longer work at Siemens"),
        ("I am allergic to nuts", "I am not allergic to nuts"),
        ("I don't eat fish", "I eat fish again"),
        ("I love running", "I hate running now"),
        ("Anna lives in Paris", "Anna doesn't live in Paris anymore"),
        ("I have a dog", "I no longer have a dog"),
        ("My budget is 80k", "My budget is no longer 80k"),
    ),
    Case("supersedes", "My budget is 80k", "now it's 120k", after=SOON),
    Case("supersedes", "My budget is 80k", "make it 120k", after=SOON, beside=("I live in Lyon",)),
    Case("supersedes", "My budget is 80k", "My budget is 120k", beside=("My brother's budget is 80k", "I like 80s music")),
    Case("supersedes", "My budget is 80k", "Actually my budget is 120k", after=AT_ONCE),
    *_cases(
        "duplicate",
        ("My budget is 80k", "My budget is 80k"),
        ("My budget is 80k", "my budget is 80,000."),
        ("My budget is 80k", "My  budget is 80 thousand"),
        ("My budget is $80k", "User's budget is 80,000 dollars"),
        ("My budget is 80k", "My current budget is 80k"),
        ("I live in Lyon", "User lives in Lyon"),
        ("I live in Lyon", "I'm living in Lyon"),
        ("I live in Lyon", "I still live in Lyon"),
        ("I like tea", "The user likes tea."),
        ("I don't eat meat", "I do not eat meat"),
        ("I no longer eat meat", "I don't eat meat any more"),
        ("Anna's birthday is May 4", "Anna's birthday is on 4 May"),
        ("My e-mail is anna@example.com", "My email address is Anna@example.com"),
        ("I have two dogs", "I have 2 dogs"),
        ("I am 34 years old", "I'm 34"),
        ("I work at Siemens", "User is employed by Siemens"),
        ("My favourite colour is blue", "My favorite color is blue"),
        ("User prefers tea over coffee", "I prefer tea to coffee"),
        ("I love the mountains", "I really love mountains"),
        ("My brother's budget is 50k", "User's brother's budget is 50,000"),
        ("Mi presupuesto es 80k", "Mi presupuesto es 80k."),
        ("I moved to Berlin", "I live in Berlin"),
    ),
    Case("duplicate", "I live in Lyon", "I live in Lyon", after=EARLIER),
    # What can hold together.
    *_cases(
        "new",
        ("I like tea", "I like coffee"),
        ("I speak French", "I speak German"),
        ("I have a dog", "I have a cat"),
        ("I have a son named Tom", "I have a daughter named Mia"),
        ("I am allergic to nuts", "I am allergic to shellfish"),
        ("I visited Rome", "I visited Athens"),
        ("My hobby is chess", "My hobby is painting"),
        ("My budget for the robot is 80k", "My budget for marketing is 20k"),
        ("My work email is anna@acme.com", "My private email is anna@example.com"),
        ("I prefer tea", "I prefer window seats"),
        ("I work at Siemens", "I work in Munich"),
        ("I am a father", "I am an engineer"),
        ("My budget is 80k", "My budget is tight"),
        ("My name is Anna", "My name is hard to pronounce"),
        ("I work at Siemens", "I also work at the city library"),
        ("I eat meat", "I don't eat red meat on Fridays"),
        ("My budget is 80k", "My salary is 90k"),
        ("I like dogs", "I like big dogs"),
        ("My favourite colour is blue", "My favourite food is pizza"),
        ("I have two dogs", "I feed my dogs two times a day"),
    ),
    # Other subjects.
    *_cases(
        "new",
        ("My budget is 80k", "My brother's budget is 50k"),
        ("I live in Lyon", "Anna lives in Paris"),
        ("Anna's birthday is May 4", "Ben's birthday is June 1"),
        ("I like tea", "My wife doesn't like tea"),
        ("User works at Siemens", "User's brother works at Bosch"),
        ("My sister lives in Rome", "My brother lives in Berlin"),
        ("Anna works at Siemens", "Anna's boss works at Bosch"),
        ("I am 34 years old", "My son is 5 years old"),
        ("My email is anna@example.com", "My boss's email is ben@example.com"),
        ("I eat meat", "Anna no longer eats meat"),
        ("My budget is 80k", "The company's budget is 2 million"),
        ("My favourite colour is blue", "My daughter's favourite colour is pink"),
    ),
    # Not said to be so: conditions, plans, what others say, questions.
    *_cases(
        "new",
        ("My budget is 80k", "If my budget were 200k I would buy two robots"),
        ("My budget is 80k", "My boss says my budget is 90k"),
        ("I live in Lyon", "I might move to Berlin"),
        ("I live in Lyon", "I want to live in Berlin"),
        ("I work at Siemens", "I'd like to work at Bosch"),
        ("My budget is 80k", "Is my budget 120k?"),
        ("I live in Lyon", "I am moving to Berlin next year"),
        ("My budget is 80k", "My budget will be 120k"),
        ("I eat meat", "I should not eat meat"),
        ("I live in Lyon", "I wish I lived in Berlin"),
        ("My budget is 80k", "I hope my budget is 120k soon"),
        ("I like tea", 'Anna said "I don\'t like tea"'),
        ("My budget is 80k", "Suppose my budget is 300k"),
        ("I live in Lyon", "Imagine I live in Berlin"),
    ),
    *_cases(
        "unsure",
        ("I live in Lyon", "I live in France"),
        ("I live in Berlin", "I live in Kreuzberg"),
        ("My name is Robert", "My name is Bob"),
        ("My budget is 80k", "My budget increased by 40k"),
        ("My budget is 8k per month", "My budget is 96k per year"),
        ("My budget is 80k", "My budget is at least 100k"),
        ("I prefer tea", "I now prefer coffee"),
        ("I drive a Tesla", "I now drive a BMW"),
        ("My budget is 80k", "My budget for the robot is 60k"),
        ("I live in Lyon", "I moved to Google"),
        ("My budget is 80 euros", "My budget is 80.000 euros"),
        ("My car is a Tesla", "My car is a convertible"),
        ("She lives in Paris", "She lives in Rome"),
        ("I eat red meat", "I no longer eat meat"),
        ("I live in Lyon", "I moved to Berlin in 2015"),
        ("My height is 180 cm", "My height is 1.82 m"),
        ("I have a dog named Rex", "I no longer have a dog"),
        ("Mi presupuesto es 80k", "Mi presupuesto es 120k"),
        ("Mon budget est de 80k", "Mon budget est maintenant de 120k"),
        ("Ich wohne in Lyon", "Ich wohne jetzt in Berlin"),
        ("Ich mag Tee", "Ich mag keinen Tee"),
        ("My phone number is 0171 123456", "My phone number is +49 171 123456"),
    ),
    Case("unsure", "My budget is 80k", "now it's 120k"),
    Case("unsure", "My budget is 80k", "now 120k", after=SOON, beside=("My salary is 60k",)),
    Case("unsure", "My budget is 80k", "My budget is 120k", after=AT_ONCE),
    *_cases(
        "past",
        ("My budget is 80k", "My budget was 50k in 2019"),
        ("I live in Lyon", "I used to live in Rome"),
        ("I live in Lyon", "In 2019 I lived in Rome"),
        ("User lives in Lyon", "User lived in Rome until 2021"),
        ("I work at Bosch", "I worked at Siemens from 2015 to 2020"),
        ("My budget is 80k", "My previous budget was 50k"),
        ("I eat fish", "I used to eat meat"),
        ("I live in Lyon", "Back in 2019 I lived in Berlin"),
        ("User's budget is 80k", "User's budget used to be 50k"),
        ("My favourite colour is blue", "My favourite colour was red when I was a child"),
    ),
    Case("past", "My budget is 120k", "My budget is 80k", after=EARLIER),
    Case("past", "I live in Berlin", "I live in Lyon", after=EARLIER),
    Case("past", "I no longer eat meat", "I eat meat", after=EARLIER),
    Case("past", "My email is a.meier@example.org", "My email is anna@example.com", after=EARLIER),
]

HELD_OUT = [
    *_cases(
        "supersedes",
        ("My budget is 30k", "My budget has changed to 45k"),
        ("User's salary is 70k", "User's salary is 75,000"),
        ("I live in Madrid", "I live in Oslo now"),
        ("The user lives in Tokyo", "The user relocated to London"),
        ("My address is 12 Oak Street", "My new address is 7 Elm Road"),
        ("I work for Airbus", "I started working at Boeing"),
        ("My birthday is March 3", "Correction: my birthday is March 13"),
        ("User is engaged", "User is married"),
        ("My favorite food is pizza", "My favorite food is now sushi"),
        ("I prefer trains over planes", "These days I prefer planes to trains"),
        ("My age is 40", "My age is 41"),
        ("Ben's phone number is 030 123456", "Ben's phone number is 030 654321"),
        ("I drink coffee", "I don't drink coffee anymore"),
        ("User plays tennis", "User stopped playing tennis"),
        ("I can not swim", "I can swim now"),
        ("My daughter lives in Vienna", "My daughter moved to Hamburg"),
        ("The user's marketing budget is 10k", "My marketing budget is 15k"),
    ),
    *_cases(
        "duplicate",
        ("My budget is 30k", "User has a budget of 30k"),
        ("I like hiking", "User likes hiking"),
        ("My salary is 1.5 million", "My salary is 1,500,000"),
        ("User's birthday is March 3", "My birthday is the 3rd of March"),
        ("I've got a cat", "I have a cat"),
        ("I can't swim", "User cannot swim"),
        ("I live in Madrid", "I live in madrid!"),
        ("I work for Airbus", "I work at Airbus"),
    ),
    *_cases(
        "new",
        ("I like jazz", "I like techno"),
        ("I have three children", "I have three cats"),
        ("My wife is Anna", "My sister is Eva"),
        ("I own a house in Porto", "I own a boat"),
        ("My budget for travel is 5k", "My budget for rent is 12k"),
        ("Anna's budget is 30k", "Ben's budget is 40k"),
        ("User lives in Madrid", "User's parents live in Seville"),
        ("I speak Spanish", "My wife doesn't speak Spanish"),
        ("My budget is 30k", "Perhaps my budget is 50k"),
        ("I work for Airbus", "I would never work for Boeing"),
        ("I live in Madrid", "What if I lived in Oslo?"),
        ("I live in Madrid", "I plan to move to Oslo"),
        ("My favorite restaurant is Luigi's", "My favorite restaurant is closed on Mondays"),
        ("My salary is 70k", "My salary is good"),
        ("I eat meat", "I never eat meat on Fridays"),
        ("My address is 12 Oak Street", "My office address is 1 Main Square"),
    ),
    *_cases(
        "unsure",
        ("I live in Texas", "I live in Austin"),
        ("My name is Liz", "My name is Elizabeth"),
        ("My budget is 30k", "My budget doubled"),
        ("I use Windows", "I switched to Linux"),
        ("Meu orçamento é 30k", "Meu orçamento é 50k"),
        ("J'habite à Lyon", "J'habite à Paris"),
        ("My salary is 70k", "My salary is between 70k and 90k"),
        ("He works at Airbus", "He works at Boeing"),
        ("I have two dogs", "I have three dogs"),
    ),
    *_cases(
        "past",
        ("I live in Madrid", "I lived in Paris in 2010"),
        ("My salary is 70k", "My salary was 55k two years ago"),
        ("I work for Airbus", "Before that I worked for Boeing"),
        ("User is married", "User was single in 2015"),
        ("I drink tea", "I used to drink coffee"),
    ),
    Case("past", "User's favorite color is green", "User's favorite color is blue", after=EARLIER),
    Case("past", "I am 35", "I am 34", after=EARLIER),
    Case("unsure", "My budget is 30k", "make it 45k", after=SOON, beside=("My rent is 2k",)),
    *_cases(
        "supersedes",
        ("User's name is Ana Costa", "User's name is now Ana Lima"),
        ("I live in Porto, Portugal", "User moved from Porto to Braga"),
        ("I take sugar in my tea", "I no longer take sugar in my tea"),
        ("My rent is 900 euros", "My rent went up from 900 to 950 euros"),
        ("I don't own a car", "I own a car now"),
    ),
    *_cases(
        "duplicate",
        ("My rent is 900 euros", "My rent is €900"),
        ("Ana lives in Porto", "Ana is living in Porto"),
        ("I don't own a car", "User doesn't own a car"),
    ),
    *_cases(
        "new",
        ("I own a car", "I don't own a boat"),
        ("My favourite author is Borges", "My mother's favourite author is Eco"),
        ("I live in Porto", "Porto has 230,000 inhabitants"),
        ("My rent is 900 euros", "My landlord thinks my rent is 1000 euros"),
        ("I live in Porto", "Ana told me she moved to Braga"),
        ("I have been to Japan", "I have been to Korea"),
        ("I like my job", "Ana doesn't like her job"),
        ("My budget is 30k", "Let's pretend my budget is 300k"),
        ("I work for Airbus", "I have an interview at Boeing"),
    ),
    *_cases(
        "unsure",
        ("My boss is Carla", "My boss is Dora"),
        ("I work for Airbus", "I quit my job"),
        ("Ich arbeite bei Airbus", "Ich arbeite nicht mehr bei Airbus"),
        ("I live in Porto", "I don't live in Portugal any more"),
    ),
    *_cases(
        "past",
        ("I work for Airbus", "I was employed by Boeing until 2018"),
        ("My rent is 900 euros", "In 2020 my rent was 700 euros"),
    ),
]
