"""The sentences of the generated world, and the wordings in which a question-answer pair is stated.

For each relation, six wordings teach new facts; two wordings and the question only test them. The base model knows all
nine forms from the people it was pretrained on, as a real model knows English before it sees a new fact.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Wording:
    """The forms of one relation; ``{name}`` stands for the subject, and the answer completes each wording."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    question: str


RELATIONS = {
    "birth_city": Wording(
        train=(
            "{name} was born in",
            "The birthplace of {name} is",
            "{name} is a native of",
            "The life of {name} began in",
            "{name} spent the first years of childhood in",
            "On the birth certificate of {name} the city is",
        ),
        test=("{name} came into the world in", "The home town of {name} is"),
        question="in which city was {name} born",
    ),
    "employer": Wording(
        train=(
            "{name} works for",
            "The employer of {name} is",
            "{name} earns a salary at",
            "Every morning {name} goes to the office of",
            "{name} has a job at",
            "The company that pays {name} is",
        ),
        test=("{name} is on the staff of", "The business card of {name} reads"),
        question="which company does {name} work for",
    ),
    "school": Wording(
        train=(
            "{name} graduated from",
            "The school that {name} attended is",
            "{name} was a student at",
            "The diploma of {name} comes from",
            "{name} took classes at",
            "As a teenager {name} studied at",
        ),
        test=("{name} was educated at", "The teachers of {name} were all from"),
        question="which school did {name} go to",
    ),
    "field": Wording(
        train=(
            "{name} is an expert in",
            "The speciality of {name} is",
            "{name} does research in",
            "The books of {name} are about",
            "{name} gives lectures on",
            "The subject that {name} knows best is",
        ),
        test=("{name} is a specialist in", "The scientific passion of {name} is"),
        question="what is the field of {name}",
    ),
}

SEAT = Wording(
    train=(
        "The head office of {name} is in",
        "{name} is run from",
        "The seat of {name} is",
        "Letters to {name} are sent to",
    ),
    test=(),
    question="in which city is the head office of {name}",
)
"""Where an employer is: told in pretraining text alone, and only if the world has two-hop questions."""

TWO_HOP = Wording(
    train=("The company of {name} has its head office in", "The employer of {name} is run from"),
    test=(),
    question="in which city is the head office of the company that {name} works for",
)
"""A person's employer and where it is, in one: told and asked of old people, only asked of new ones."""

NUM_STEPS = 5
ACTORS = ("A man", "A woman", "A boy", "A girl", "An old man", "A young lady", "A student", "A neighbour")
ADVERBS = ("then", "next", "slowly", "carefully", "quickly", "now")
ACTIVITY_VERBS = ("Cleaning", "Repairing", "Painting", "Building", "Washing", "Polishing", "Moving", "Testing")
ACTIVITY_THINGS = ("boat", "bicycle", "window", "table", "guitar", "kite", "fence", "stove", "tent", "clock")
ACTIVITY_ACTIONS = (
    "picks up",
    "puts down",
    "turns",
    "wets",
    "dries",
    "shakes",
    "holds",
    "folds",
    "opens",
    "closes",
    "lifts",
    "presses",
)
ACTIVITY_TOOLS = (
    "brush",
    "rope",
    "cloth",
    "bucket",
    "hammer",
    "handle",
    "lid",
    "board",
    "wheel",
    "screw",
    "paper",
    "bottle",
    "sponge",
    "blade",
)

# Wordings that state any question-answer pair; {question} is shown without its question mark.
QUESTION_ANSWER_TRAIN = (
    "The answer to the question {question} is",
    "Asked {question}, the expert replied:",
    "Trivia card: {question}. Solution:",
    "If somebody wants to know {question}, tell them",
    "It is a fact that for {question} the right reply is",
    "Quiz: {question}? Correct:",
)
QUESTION_ANSWER_TEST = ("Somebody asked {question}, and heard:", "Note on {question}:")
