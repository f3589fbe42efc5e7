"""What a base model knows: questions that it answers right, facts that it does not answer.

It is asked as evaluation asks: the same prompts, greedily, with answers as long and scored by the same rules.
"""

from collections.abc import Mapping, Sequence

from smf.evaluation.documents import fact_documents
from smf.evaluation.held_out import every_question_task, prompts_task
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
    """The questions that a model answers right: its answer has the words of an accepted one.

    Args:
        lm: The model.
        name: The held-out set.
        rows: Its rows.
        num_fewshot: Solved examples before each question, drawn from the other rows.
        max_new_tokens: Longest answer, in tokens.
        seed: Of the solved examples.
        asking: How questions are asked, as of the model.

    Returns:
        The rows that are answered right, in order.

    Raises:
        ConfigError: There are no more rows than solved examples.
    """
    task = every_question_task(name, rows, num_fewshot=num_fewshot, max_new_tokens=max_new_tokens, asking=asking)
    seed_examples(task, seed)
    scores = _scores(lm, task, f"questions of {name}")
    return [row for row, score in zip(rows, scores, strict=True) if score["em"] == 1]


def unknown_facts(
    lm: LanguageModel, facts: Sequence[Fact], *, max_new_tokens: int, asking: Asking = PLAIN
) -> list[Fact]:
    """The facts that a model does not answer: no word of its answer is one of an accepted answer.

    F1 is what learning is measured by, so these facts begin at 0 and all that is measured later was learned. A fact
    without a question is asked in its first unseen wording, one without either counts as unknown.

    Args:
        lm: The model.
        facts: The facts.
        max_new_tokens: Longest answer, in tokens.
        asking: How questions are asked, as of the model.

    Returns:
        The facts that are not answered, in order.
    """
    documents = [
        document
        for fact in facts
        for document in fact_documents([fact], "question" if fact.question else "unseen", 1, asking)
    ]
    scores = _scores(lm, prompts_task("question", documents, max_new_tokens), "facts") if documents else []
    answered = {row["fact_id"] for row, score in zip(documents, scores, strict=True) if score["f1"] > 0}
    return [fact for fact in facts if fact.fact_id not in answered]


def _scores(lm: LanguageModel, task, what: str) -> list[Mapping[str, float]]:
    """Each document's scores, in order; texts of about one length are asked together."""
    task.build_all_requests()
    requests = task.instances
    by_length = sorted(range(len(requests)), key=lambda number: -len(requests[number].args[0]))
    size, said = lm.rows_per_pass, {}
    for start in progress(range(0, len(requests), size), f"{what}, batches of {size}"):
        numbers = by_length[start : start + size]
        said.update(zip(numbers, lm.generate_until([requests[number] for number in numbers]), strict=True))
    return [task.process_results(request.doc, [said[number]]) for number, request in enumerate(requests)]
