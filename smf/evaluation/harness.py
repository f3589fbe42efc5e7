"""Evaluate models in process: held-out sets, lm-eval's own tasks and new facts in, scores out.

The sets are read and their tasks built once; the same objects then score all snapshots of a branch.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from lm_eval.api.model import LM
from lm_eval.api.task import Task
from lm_eval.evaluator import evaluate
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from smf.errors import ConfigError, DataError
from smf.evaluation.answers import extract_answer
from smf.evaluation.divergence import Divergences, TaughtTexts
from smf.evaluation.documents import (
    FACT_FORMS,
    chosen_facts,
    fact_documents,
    locality_documents,
    replaced_documents,
)
from smf.evaluation.held_out import held_out_task, prompts_task
from smf.evaluation.language_model import LanguageModel
from smf.evaluation.named_tasks import named_task, seed_examples, task_scores, without_run_details
from smf.evaluation.retrieved import Retrieved
from smf.evaluation.settings import EvaluationSettings
from smf.files.resume import Tape
from smf.scores.metrics import FACTS_METRICS, LOCALITY, MEASURES, STALE, UPDATED
from smf.streams.asking import Asking, Retrieve
from smf.streams.facts import Fact
from smf.streams.replaced import current
from smf.streams.sayable import warn_of_long_answers

logger = logging.getLogger(__name__)

_BOOTSTRAP = 1000
"""Bootstrap resamples for standard errors of metrics in lm-eval's tasks that are not means; means have a formula."""


class Evaluator:
    """Scores model snapshots on the held-out sets and on the facts that they were taught.

    Args:
        probes: The held-out sets by name, each with its kind and its file, JSONL in the schema of the kind.
        facts: The stream, in order; empty to ask the held-out sets alone.
        settings: What to measure, and how.
        tokenizer: The models' tokenizer; needed to ask in a chat template.

    Raises:
        DataError: A data file is missing or holds a broken row, or nothing can be asked of the facts.
        ConfigError: A subset is empty, larger than its file, or leaves too few rows for the solved examples, or
            there is no chat template to ask in.

    Example:
        >>> evaluator = Evaluator(facts=facts, settings=EvaluationSettings(max_new_tokens=4))
        >>> [score["metric"] for score in evaluator.evaluate(model, tokenizer)["scores"]]
        ['facts_seen_f1', 'facts_unseen_f1', 'facts_question_f1']
    """

    def __init__(
        self,
        probes: Mapping[str, tuple[str, str | Path]] = MappingProxyType({}),
        facts: Sequence[Fact] = (),
        settings: EvaluationSettings = EvaluationSettings(),  # noqa: B008 (it is frozen)
        tokenizer: PreTrainedTokenizerBase | None = None,
    ):
        self._asking = Asking(settings.prompt_format, tokenizer)
        self._facts = tuple(facts)
        self._settings = settings
        self._kinds = {name: kind for name, (kind, _) in probes.items()}
        self._held_out = [
            held_out_task(
                name,
                kind,
                path,
                num_items=settings.num_items.get(name),
                num_fewshot=settings.num_fewshot.get(name, 0),
                max_new_tokens=settings.max_new_tokens,
                seed=settings.seed,
                asking=self._asking,
            )
            for name, (kind, path) in probes.items()
        ]
        self._named = {
            name: named_task(name, task, settings.include_path, settings.seed) for name, task in settings.tasks.items()
        }
        self._forms = [form for form in FACT_FORMS if self._asked(self._facts, form)]
        if self._facts and not self._forms:
            raise DataError(f"none of the {len(self._facts)} facts has a wording or a question that can be asked")
        expected = [form for form in FACT_FORMS if f"facts_{form}_f1" in FACTS_METRICS]  # few facts have other forms
        if self._facts and (absent := [f"facts_{form}_f1" for form in expected if form not in self._forms]):
            logger.warning("not measured, because no fact of the stream has such a wording: %s", ", ".join(absent))
        self._divergences = Divergences(
            {
                name: [row["text"] for row in task.eval_docs]
                for (name, kind), task in zip(self._kinds.items(), self._held_out, strict=True)
                if kind == "texts"
            },
            settings.kl_texts,
            self._facts,
            TaughtTexts(**settings.kl_facts) if settings.kl_facts else None,
            seed=settings.seed,
            asking=self._asking,
        )
        self._locality: dict[str, str] | None = None
        self._lengths_checked = False

    @property
    def needs_start(self) -> bool:
        """Whether snapshots are compared with the model that they started from."""
        return bool(self._divergences)

    def remember(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        positions: Iterable[int] = (0,),
        tape: Tape | None = None,
    ) -> None:
        """Record the start model's answers about neighbours of the facts, to compare snapshots with.

        Without this call, and for facts without ``locality_prompts``, locality is not measured.

        Args:
            model: The model that the stream starts from.
            tokenizer: Its tokenizer.
            positions: Stream positions at which snapshots will be scored.
            tape: Replays what an earlier process computed.
        """
        asked = {fact.fact_id for position in positions for fact in self._chosen(position)}
        facts = [fact for fact in self._facts if fact.fact_id in asked]
        prompts = list(dict.fromkeys(prompt for fact in facts for prompt in fact.locality_prompts))
        if not prompts:
            return
        documents = [{"prompt": self._asking.reworded(prompt), "answer": [""]} for prompt in prompts]
        task = prompts_task("locality", documents, self._settings.max_new_tokens)
        task.build_all_requests()
        was_training = model.training
        try:
            said = self._language_model(model, tokenizer, tape).generate_until(task.instances)
        finally:
            model.train(was_training)
        self._locality = {prompt: extract_answer(text) for prompt, text in zip(prompts, said, strict=True)}

    def evaluate(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        position: int = 0,
        tape: Tape | None = None,
        start: PreTrainedModel | None = None,
        retrieve: Retrieve | None = None,
    ) -> dict:
        """Score one snapshot.

        Args:
            model: The snapshot, used on its own device; its training mode is restored afterwards.
            tokenizer: The one that the model was trained with.
            position: How many facts of the stream the snapshot was taught; these are asked, those that others of them
                replace by measures of their own. 0, for a start model: all.
            tape: Replays what an earlier process computed.
            start: Its start model, on the same device. None: divergences from it are not measured.
            retrieve: What is put before questions and wordings; None for nothing.

        Returns:
            ``scores``: a list of ``{"metric", "value", "stderr"}``, held-out sets first, divergences and costs last;
            ``stderr`` is the standard error over documents, None for a single one. ``lm_eval``: lm-eval's own results,
            without anything that differs between two identical runs.

        Raises:
            ConfigError: ``position`` is beyond the stream, or ``max_new_tokens`` beyond what the model reads.
        """
        self._warn_of_long_answers(tokenizer)
        was_training, tape = model.training, tape or Tape()
        try:
            lm = self._language_model(model, tokenizer, tape)
            reader = None if retrieve is None else Retrieved(lm, retrieve, self._asking, self._kinds)
            scored = self.score(reader or lm, position)
            if start is not None:
                scored["scores"] += self._divergences.scores(lm, start, position, tape)
            if reader is not None:
                scored["scores"] += reader.costs()
            return scored
        finally:
            model.train(was_training)

    def score(self, lm: LM, position: int) -> dict:
        """Like :meth:`evaluate`, for any lm-eval model."""
        facts = self._fact_tasks(position)
        named = {name: task for name, (task, _) in self._named.items()}
        tasks = {task.task_name: task for task in (*self._held_out, *facts.values())} | named
        for task in tasks.values():
            seed_examples(task, self._settings.seed)
        samples = {name: numbers for name, (_, numbers) in self._named.items() if numbers is not None}
        raw = evaluate(
            lm=lm, task_dict={"tasks": tasks}, samples=samples or None, bootstrap_iters=_BOOTSTRAP, log_samples=False
        )
        results = raw["results"]
        scores = [
            _score(f"{name}_{measure}", results[f"smf_{name}"], measure)
            for name, kind in self._kinds.items()
            for measure in MEASURES[kind]
        ]
        for name in named:
            wanted = self._settings.tasks[name].get("metrics")
            scores += task_scores(name, results[name], raw["higher_is_better"][name], wanted)
        scores += [_score(metric, results[task.task_name], "f1") for metric, task in facts.items()]
        return {"scores": scores, "lm_eval": without_run_details(raw)}

    def _warn_of_long_answers(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Warn, once, how many held-out questions no model could answer within ``max_new_tokens``."""
        for (name, kind), task in zip(self._kinds.items(), self._held_out, strict=True):
            if kind == "questions" and not self._lengths_checked:
                accepted = [row["answer"] for row in task.eval_docs]
                warn_of_long_answers(name, accepted, tokenizer, self._settings.max_new_tokens)
        self._lengths_checked = True

    def _language_model(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tape: Tape | None
    ) -> LanguageModel:
        settings = self._settings
        return LanguageModel(
            model,
            tokenizer,
            batch_size=settings.batch_size,
            max_length=settings.max_length,
            window=settings.window,
            max_new_tokens=settings.max_new_tokens,
            tape=tape,
            asking=self._asking,
        )

    def _asked(self, facts: Sequence[Fact], form: str) -> list[dict]:
        return fact_documents(facts, form, self._settings.wordings_per_fact, self._asking)

    def _chosen(self, position: int) -> Sequence[Fact]:
        """The facts to ask at a position: of those taught so far that none of them replaces."""
        return chosen_facts(current(self._taught(position)), self._settings.num_facts, self._settings.seed)

    def _taught(self, position: int) -> Sequence[Fact]:
        if not 0 <= position <= len(self._facts):
            raise ConfigError(f"position is {position}, but the stream has {len(self._facts)} facts")
        return self._facts[:position] if position else self._facts

    def _fact_tasks(self, position: int) -> dict[str, Task]:
        """The tasks on the facts taught so far, by our metric; a form that no fact is asked in has no task."""
        chosen, settings = self._chosen(position), self._settings
        documents = {f"facts_{form}_f1": self._asked(chosen, form) for form in self._forms}
        if self._locality is not None:
            documents[LOCALITY] = locality_documents(chosen, self._locality, self._asking)
        documents[UPDATED], documents[STALE] = replaced_documents(
            self._taught(position), settings.num_facts, settings.seed, settings.wordings_per_fact, self._asking
        )
        return {
            metric: prompts_task(metric.removeprefix("facts_").removesuffix("_f1"), rows, settings.max_new_tokens)
            for metric, rows in documents.items()
            if rows
        }


def _score(metric: str, results: Mapping, measure: str) -> dict:
    value, stderr = results[f"{measure},none"], results[f"{measure}_stderr,none"]
    return {"metric": metric, "value": float(value), "stderr": None if stderr == "N/A" else float(stderr)}
