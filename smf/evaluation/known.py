"""Find what a base model knows: the questions that it answers correctly, the facts that it does not answer.

The model is asked as in evaluation: same prompts, greedy decoding, same answer length, same scoring.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from smf.evaluation.documents import fact_documents
from smf.evaluation.held_out import MemoryTask, every_question_task, prompts_task
from smf.evaluation.language_model import LanguageModel
from smf.evaluation.named_tasks import seed_examples
from smf.logs import progress
from smf.streams.asking import PLAIN, Asking
from smf.streams.facts import Fact


def known_questions(
    lm: LanguageModel,
    name: str,
    rows: Sequence[Mapping],
    *,
    num_fewshot: int,
    max_new_tokens: int,
    seed: int,
    asking: Asking = PLAIN,
) -> list[Mapping]:
    """Select the questions that a model answers correctly: its answer has the words of an accepted one.

    Args:
        lm: The model.
        name: The held-out set.
        rows: Its rows.
        num_fewshot: Solved examples before each question, drawn from the other rows.
        max_new_tokens: Longest answer, in tokens.
        seed: Seeds the solved examples.
        asking: How questions are asked; the same as the model's.

    Returns:
        The rows answered correctly, in order.

    Raises:
        ConfigError: There are no more rows than solved examples.
    """
    task = every_question_task(name, rows, num_fewshot=num_fewshot, max_new_tokens=max_new_tokens, asking=asking)
    seed_examples(task, seed)
    scores = _scores(lm, task, f"questions of {name}")
    return [row for row, score in zip(rows, scores, strict=True) if score["em"] == 1]


class AskedFacts(NamedTuple):
    """Facts sorted by a model's answers; each list keeps their order.

    Attributes:
        unknown: The answer shares no word with an accepted one, or the fact cannot be asked.
        known: The fact has a question, and the model's answer has the words of an accepted one.
    """

    unknown: list[Fact]
    known: list[Fact]


def ask_facts(lm: LanguageModel, facts: Sequence[Fact], *, max_new_tokens: int, asking: Asking = PLAIN) -> AskedFacts:
    """Ask a model about facts, to separate those that it knows from those that it does not.

    F1 measures learning, so unknown facts start at 0 and any later score was learned. A fact without a question is
    asked in its first unseen wording; one without either counts as unknown. A fact answered in part is neither unknown
    nor known.

    Args:
        lm: The model.
        facts: The facts.
        max_new_tokens: Longest answer, in tokens.
        asking: How questions are asked; the same as the model's.
    """
    documents = [
        document
        for fact in facts
        for document in fact_documents([fact], "question" if fact.question else "unseen", 1, asking)
    ]
    scores = _scores(lm, prompts_task("question", documents, max_new_tokens), "facts") if documents else []
    by_fact = {row["fact_id"]: score for row, score in zip(documents, scores, strict=True)}
    return AskedFacts(
        unknown=[fact for fact in facts if fact.fact_id not in by_fact or by_fact[fact.fact_id]["f1"] == 0],
        known=[fact for fact in facts if fact.question and by_fact[fact.fact_id]["em"] == 1],
    )


def _scores(lm: LanguageModel, task: MemoryTask, what: str) -> list[Mapping[str, float]]:
    """Each document's scores, in order; prompts of similar length share a batch."""
    task.build_all_requests()
    requests = task.instances
    by_length = sorted(range(len(requests)), key=lambda number: -len(requests[number].args[0]))
    size = lm.rows_per_pass
    said: dict[int, str] = {}
    for start in progress(range(0, len(requests), size), f"{what}, batches of {size}"):
        numbers = by_length[start : start + size]
        said.update(zip(numbers, lm.generate_until([requests[number] for number in numbers]), strict=True))
    return [task.process_results(request.doc, [said[number]]) for number, request in enumerate(requests)]
