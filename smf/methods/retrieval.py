"""Retrieval: nothing is learned; a fact that was taught is put before the question that the start model is asked.

With ``retriever: gold`` it is the ceiling for learning: the model reads the very fact, and only for questions about
facts that were taught, so nothing is forgotten. With ``bm25`` (Robertson and Zaragoza, 2009) it is what a real system
does: facts are found by the words that they share with the question, and every question gets some, so it may distract.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, NoReturn

from smf.errors import CheckpointError
from smf.methods.deltas import Load, shapes
from smf.methods.kind_settings import GivenSettings, KindSettings
from smf.methods.method import Footprint, Method, Start
from smf.settings.section import Count

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from smf.files.model_shape import BaseShape, MemoryShape
    from smf.streams.asking import Retrieve
    from smf.streams.batches import Batch
    from smf.streams.facts import Fact

_K1, _B = 1.2, 0.75  # Lucene's: saturation of repeated words, and how much long texts are discounted


class RetrievalSettings(KindSettings):
    """What is retrieved."""

    retriever: Literal["gold", "bm25"] = "bm25"
    """gold: the fact that is asked for, if it was taught. bm25: taught facts that share words with any question."""
    top_k: Count = 1
    """For bm25: most facts before a question."""

    def disagreement(self) -> str:
        """Gold is one fact."""
        if self.retriever == "gold" and self.top_k > 1:
            return f"top_k is {self.top_k}, but retriever gold gives the one fact that is asked for; drop top_k"
        return ""


class Retrieval(Method):
    """Leaves the model as it is, and remembers which facts of the stream were taught."""

    settings_class = RetrievalSettings
    settings: RetrievalSettings
    starts_from: ClassVar[Start] = "base"
    retrieves = True

    def begin(self) -> None:
        """No fact was taught yet."""
        super().begin()
        self._places: set[int] = set()

    @classmethod
    def footprint(cls, settings: GivenSettings, base: BaseShape, memory: MemoryShape, **stream: int) -> Footprint:
        """Nothing trains."""
        return Footprint(0, 0, 0, first_block=base.num_layers)

    def step(self, batch: Batch) -> NoReturn:
        """Never called: a method that retrieves takes no steps."""
        raise NotImplementedError("retrieval takes no steps")

    def end_lesson(self, places: tuple[int, ...]) -> None:
        """Remember the facts."""
        self._places.update(places)

    def delta(self) -> dict[str, Tensor]:
        """``places``: the facts taught so far, as ascending places in the stream from 0, int64."""
        import torch

        return {"places": torch.tensor(sorted(self._places), dtype=torch.int64)}

    def load_delta(self, delta: Mapping[str, Tensor]) -> None:
        """Remember the facts of a delta instead."""
        super().load_delta(delta)
        self._places = set(delta["places"].tolist())

    @classmethod
    def loader(cls, model: PreTrainedModel) -> Load:
        """Checks deltas; the model stays as it is."""
        return _require_places

    @classmethod
    def retriever(cls, settings: GivenSettings, delta: Mapping[str, Tensor], facts: Sequence[Fact]) -> Retrieve:
        """What is put before a question: the facts that were taught and fit it, one a line, the best last.

        Raises:
            CheckpointError: The delta is not one of this kind, or of another stream.
        """
        settings = cls.settings_class.read(settings)
        _require_places(delta)
        places = delta["places"].tolist()
        if places and places[-1] >= len(facts):
            raise CheckpointError(
                f"the delta holds fact {places[-1] + 1} of a stream, but this stream has {len(facts)}; learn it again"
            )
        taught = [facts[place] for place in places]
        return _gold(taught) if settings.retriever == "gold" else _bm25(taught, settings.top_k)


def _require_places(delta: Mapping[str, Tensor]) -> None:
    if delta.keys() != {"places"} or delta["places"].ndim != 1 or delta["places"].is_floating_point():
        raise CheckpointError(
            f"the delta holds {', '.join(sorted(shapes(delta))) or 'nothing'} instead of places of facts in the "
            "stream; learn the stream again"
        )


def _statement(fact: Fact) -> str:
    """The first text that teaches a fact: a wording with its answer, or a whole text."""
    first = fact.training_texts()[0]
    return first.prompt + first.completion


def _gold(taught: Sequence[Fact]) -> Retrieve:
    """The fact that is asked for by its questions or by one of its wordings; the newest, if several are.

    For a fact that was replaced it is the one that took its place.
    """
    from smf.streams.asking import question_in
    from smf.streams.normalize import bare_question
    from smf.streams.replaced import newest

    found: dict[str, str] = {}
    replaced = newest(taught)
    for fact in taught:
        statement = _statement(replaced.get(fact.fact_id, fact))
        if fact.is_passage and fact.question:
            statement = _passage_with_answer(fact, taught)
        found |= {question_in(prompt): statement for prompt in (*fact.train_prompts, *fact.unseen_prompts)}
        if fact.question:
            found[bare_question(fact.question)] = statement
        if fact.two_hop_question:
            found[bare_question(fact.two_hop_question)] = statement
    return lambda asked: found.get(asked, "")


def _passage_with_answer(fact: Fact, taught: Sequence[Fact]) -> str:
    """The first passage of the fact's document that holds an answer; its own if none does."""
    from smf.streams.normalize import holds_answer

    document = (_statement(other) for other in taught if other.subject == fact.subject)
    return next((passage for passage in document if holds_answer(passage, fact.answers)), _statement(fact))


def _bm25(taught: Sequence[Fact], top_k: int) -> Retrieve:
    """Those that score highest among those that share a word; of equals the newest first."""
    import bm25s

    from smf.streams.normalize import words_of

    logging.getLogger("bm25s").setLevel(logging.INFO)  # on import it asks for its debug lines, one an index
    statements = [_statement(fact) for fact in reversed(taught)]
    index = bm25s.BM25(k1=_K1, b=_B, method="lucene", backend="numpy")
    if statements:
        index.index([words_of(text) or [""] for text in statements], create_empty_token=False, show_progress=False)

    def retrieve(asked: str) -> str:
        shared = index.get_tokens_ids(words_of(asked)) if statements else []
        if not shared:
            return ""
        scores = index.get_scores_from_ids(shared)
        best = (-scores).argsort(kind="stable")[:top_k]
        return "\n".join(statements[place] for place in reversed(best) if scores[place] > 0)

    return retrieve
