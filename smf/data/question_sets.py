"""Real question sets: NaturalQuestions to know, TriviaQA to learn, HellaSwag to watch."""

from collections.abc import Mapping, Sequence
from functools import partial

from smf.data.held_out_sets import HELLASWAG, hellaswag_row
from smf.data.prepared import PreparedData, known_examples
from smf.data.questions import NQ_OPEN, TRIVIAQA, Pair, nq_pair, question_fact, teachable, trivia_pair
from smf.rows.sources import read_rows, require_rows, source_name
from smf.seeding import python_generator
from smf.streams.examples import Example
from smf.wordings.sentences import QUESTION_ANSWER_TEST, QUESTION_ANSWER_TRAIN

MAX_QUESTION_CHARACTERS = 120  # about 70 tokens with a wording and an answer: every text fits a window of 128
MAX_ANSWER_CHARACTERS = 40  # evaluation generates only a few tokens; a longer answer could never be given


def prepare_question_sets(
    *, data_root: str | None, known: Mapping, new: Mapping, hellaswag: Mapping, seed: int
) -> PreparedData:
    """Prepare real data: questions that the base model is taught, questions that the stream teaches, and HellaSwag.

    Args:
        data_root: Folder of the JSONL files; None to read the data sets from the hub.
        known: Source in the nq_open schema: ``hub``, ``hub_config`` (or None), ``split``, ``file`` (below
            ``data_root``) and ``num_rows``, how many usable rows to draw.
        new: Source in the trivia_qa schema, the pool of facts that streams are drawn from.
        hellaswag: Source in the HellaSwag schema.
        seed: Seed of the choice of rows.

    Raises:
        DataError: A file or a data set is missing or unreachable, lacks a column, or a row is broken.
        ConfigError: A source has fewer usable rows than ``num_rows``.
    """

    def draw(role: str, source: Mapping, rows: Sequence) -> list:
        require_rows(f"data.question_sets.{role}", source["num_rows"], rows, name_of(source))
        return python_generator(seed, "question sets", role).sample(rows, source["num_rows"])

    name_of = partial(source_name, data_root)
    known_pairs = [nq_pair(row) for row in read_rows(data_root, known, NQ_OPEN)]
    known_pairs = draw("known", known, _teachable("known", known_pairs, set()))
    new_pairs = [trivia_pair(row) for row in read_rows(data_root, new, TRIVIAQA)]
    new_pairs = draw("new", new, _teachable("new", new_pairs, {pair.key for pair in known_pairs}))
    choices = [hellaswag_row(row) for row in read_rows(data_root, hellaswag, HELLASWAG)]
    choices = draw("hellaswag", hellaswag, choices)
    questions = [{"question": pair.question, "answer": list(pair.answers)} for pair in known_pairs]
    text = [example for pair in known_pairs for example in _statements(pair)] + known_examples(questions)
    return PreparedData(
        pretraining=text,
        background=text,
        held_out={"nq": questions, "hellaswag": choices},
        facts=[question_fact(pair, "trivia") for pair in new_pairs],
        labels={
            "held_out": {
                "nq": f"NaturalQuestions ({name_of(known)}, of {len(questions):,} that the base model was taught)",
                "hellaswag": f"HellaSwag ({name_of(hellaswag)}, {len(choices):,} items)",
            },
            "chance": {"hellaswag": 0.25},
            "facts": "TriviaQA questions",
            "notes": [
                f"Real data: the old questions are those that the base model was pretrained on; new facts are from "
                f"{name_of(new)}.",
                "HellaSwag is at chance (25 %) for a model of this size.",
            ],
        },
    )


def _statements(pair: Pair) -> list[Example]:
    wordings = (*QUESTION_ANSWER_TRAIN, *QUESTION_ANSWER_TEST)
    return [Example(wording.format(question=pair.question), f" {pair.answers[0]}.") for wording in wordings]


def _teachable(role: str, pairs: Sequence[Pair], taken: set[str]) -> list[Pair]:
    return teachable(role, pairs, taken, max_question=MAX_QUESTION_CHARACTERS, max_answer=MAX_ANSWER_CHARACTERS)
