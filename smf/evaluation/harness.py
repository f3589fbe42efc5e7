"""The bridge to lm-eval, the only module that imports it: held-out sets and new facts in, scores out, in process.

The held-out sets are read and their tasks built once; all snapshots of a branch are then scored by the same objects.
"""

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import lm_eval
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks._yaml_loader import load_yaml  # private; simple_evaluate takes no data in memory
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from smf.errors import ConfigError, DataError
from smf.evaluation.documents import FACT_FORMS, fact_documents, read_choices, read_questions
from smf.evaluation.shared_context import Item, continuation_likelihoods
from smf.seeding import derive_seed, python_generator
from smf.streams.batches import starts_with_bos
from smf.streams.facts import Fact

TASK_FOLDER = Path(__file__).parent / "tasks"

# Our metric: lm-eval's task and metric. lm-eval's names occur nowhere else, but for the raw results.
LM_EVAL_METRICS = {
    "nq_f1": ("smf_nq", "f1"),
    "nq_em": ("smf_nq", "em"),
    "hellaswag_acc": ("smf_hellaswag", "acc"),
    "hellaswag_acc_norm": ("smf_hellaswag", "acc_norm"),
    "facts_seen_f1": ("smf_facts_seen", "f1"),
    "facts_unseen_f1": ("smf_facts_unseen", "f1"),
    "facts_question_f1": ("smf_facts_question", "f1"),
}


@dataclass(frozen=True)
class EvaluationSettings:
    """What is measured, and how.

    Attributes:
        num_nq: Held-out questions, a seeded subset; None takes all.
        num_hellaswag: Held-out multiple-choice items, a seeded subset; None takes all.
        wordings_per_fact: Of each fact, how many trained and how many unseen wordings are asked at most.
        num_fewshot: Solved examples before a held-out item, drawn from the rows outside the subset. Facts have none.
        max_new_tokens: Longest generated answer, in tokens.
        batch_size: Sequences a forward pass.
        max_length: Longest input plus output, in tokens; longer inputs lose their beginning. None: the model's own.
        seed: Of the subsets and of the solved examples.
    """

    num_nq: int | None = None
    num_hellaswag: int | None = None
    wordings_per_fact: int = 2
    num_fewshot: int = 0
    max_new_tokens: int = 16
    batch_size: int = 64
    max_length: int | None = None
    seed: int = 0


class Evaluator:
    """Scores model snapshots on the held-out sets and on the facts that they were taught.

    Args:
        nq_path: Held-out questions, JSONL in the nq_open schema.
        hellaswag_path: Held-out multiple-choice items, JSONL in the HellaSwag schema.
        facts: The stream, in order.
        settings: What is measured, and how.

    Raises:
        DataError: A data file is missing or holds a broken row.
        ConfigError: A subset is empty, larger than its file, or leaves too few rows for the solved examples.
    """

    def __init__(
        self, nq_path: str | Path, hellaswag_path: str | Path, facts: Sequence[Fact], settings: EvaluationSettings
    ):
        self._facts = tuple(facts)
        self._settings = settings
        self._held_out = (
            self._held_out_task("smf_nq", read_questions(nq_path), "num_nq", nq_path),
            self._held_out_task("smf_hellaswag", read_choices(hellaswag_path), "num_hellaswag", hellaswag_path),
        )

    def evaluate(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, position: int) -> dict:
        """Score one snapshot.

        Args:
            model: Used on the device where it is; back in its former training mode afterwards.
            tokenizer: The one that the model was trained with.
            position: How many facts of the stream the snapshot was taught; these are asked. 0, a start model: all.

        Returns:
            ``scores``: a list of ``{"metric", "value", "stderr"}`` in the order of ``LM_EVAL_METRICS``; ``stderr`` is
            the sample standard deviation over √n, None for a single document. ``lm_eval``: lm-eval's own results,
            less everything that would differ between two equal runs.

        Raises:
            ConfigError: ``position`` is beyond the stream, or ``max_new_tokens`` beyond what the model reads.
            DataError: No fact has an unseen wording.
        """
        was_training = model.training
        try:
            return self.score(_Model(model, tokenizer, self._settings), position)
        finally:
            model.train(was_training)

    def score(self, lm: LM, position: int) -> dict:
        """Like :meth:`evaluate`, for any lm-eval model."""
        tasks = {task.task_name: task for task in (*self._held_out, *self._fact_tasks(position))}
        for task in tasks.values():  # else the next snapshot would go on in the sequence and see other solved examples
            task.set_fewshot_seed(derive_seed(self._settings.seed, "solved examples", task.task_name))
        # With 0 iterations lm-eval gives no standard errors at all; for a mean it takes the formula and draws nothing.
        raw = evaluate(lm=lm, task_dict={"tasks": tasks}, bootstrap_iters=1, log_samples=False)
        scores = []
        for name, (task, metric) in LM_EVAL_METRICS.items():
            value, stderr = (raw["results"][task][f"{key},none"] for key in (metric, f"{metric}_stderr"))
            scores.append({"metric": name, "value": float(value), "stderr": None if stderr == "N/A" else float(stderr)})
        return {"scores": scores, "lm_eval": _without_run_details(raw)}

    def _held_out_task(self, task: str, rows: list[dict], setting: str, path: str | Path) -> ConfigurableTask:
        num_fewshot = self._settings.num_fewshot
        available = len(rows) - num_fewshot
        number = getattr(self._settings, setting)
        number = available if number is None else number
        if not 0 < number <= available:
            raise ConfigError(
                f"evaluation.{setting} is {number}, but {path} holds {len(rows)} rows, {num_fewshot} of them needed as "
                f"solved examples (evaluation.num_fewshot); at most {available} and at least 1 can be asked"
            )
        asked = set(python_generator(self._settings.seed, "held out", task).sample(range(len(rows)), number))
        splits = {
            "validation": [row for index, row in enumerate(rows) if index in asked],
            "train": [row for index, row in enumerate(rows) if index not in asked] if num_fewshot else [],
        }
        return self._task(task, {"task": task, "num_fewshot": num_fewshot}, splits)

    def _fact_tasks(self, position: int) -> list[ConfigurableTask]:
        if not 0 <= position <= len(self._facts):
            raise ConfigError(f"position is {position}, but the stream has {len(self._facts)} facts")
        taught = self._facts[:position] if position else self._facts
        tasks = []
        for form in FACT_FORMS:
            documents = fact_documents(taught, form, self._settings.wordings_per_fact)
            if not documents:
                raise DataError(
                    f"facts_{form} cannot be measured: none of the {len(taught)} facts has such a wording; "
                    "evaluation.wordings_per_fact must be positive and the stream's facts need all forms"
                )
            tasks.append(self._task("smf_facts", {"task": f"smf_facts_{form}"}, {"validation": documents}))
        return tasks

    def _task(self, folder: str, changes: Mapping, splits: Mapping[str, Sequence[dict]]) -> ConfigurableTask:
        config = {**load_yaml(TASK_FOLDER / folder / f"{folder}.yaml"), **changes}
        if "generation_kwargs" in config:
            config["generation_kwargs"]["max_gen_toks"] = self._settings.max_new_tokens
        return _Task(config, splits)


class _Rows(list):
    """The part of ``datasets.Dataset`` that lm-eval uses, without tables on disk and their fingerprints."""

    @property
    def features(self) -> dict:
        return dict.fromkeys(self[0])

    def map(self, function: Callable[[dict], dict]) -> "_Rows":
        return _Rows({**row, **function(row)} for row in self)


class _Task(ConfigurableTask):
    """A task of a YAML file whose data is in memory already."""

    def __init__(self, config: dict, splits: Mapping[str, Sequence[dict]]):
        self._splits = {name: _Rows(rows) for name, rows in splits.items()}
        super().__init__(config=config)

    def download(self, *_, **__) -> None:
        self.dataset = self._splits

    def build_all_requests(self, **options) -> None:
        with contextlib.redirect_stderr(io.StringIO()):  # a progress bar for milliseconds, which has no switch
            super().build_all_requests(**options)


class _Model(HFLM):
    """A model that was built already, fed with token ids like those that it was trained on."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: EvaluationSettings):
        super().__init__(
            pretrained=model,
            backend="causal",
            tokenizer=tokenizer,
            batch_size=settings.batch_size,
            max_length=settings.max_length,
            add_bos_token=starts_with_bos(tokenizer),  # as in training
        )
        if settings.max_new_tokens >= self.max_length:
            raise ConfigError(
                f"evaluation.max_new_tokens is {settings.max_new_tokens}, but the model reads {self.max_length} tokens "
                "in all; lower it"
            )

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        return super().loglikelihood(requests, disable_tqdm=disable_tqdm)

    def _loglikelihood_tokens(self, requests, disable_tqdm: bool = True, override_bs: int | None = None):
        """As lm-eval's, to rounding; what follows one context is scored with that context computed once."""
        results: dict[int, tuple[float, bool]] = {}
        by_context: dict[tuple[int, ...], list[int]] = {}
        long = []  # loses its beginning, so its context is not that of its neighbours
        for number, (_, context, continuation) in enumerate(requests):
            if len(context) + len(continuation) > self.max_length:
                long.append(number)
            else:
                by_context.setdefault(tuple(context), []).append(number)
        items = [Item(context, [requests[number][2] for number in group]) for context, group in by_context.items()]
        found = continuation_likelihoods(
            self.model, items, pad_token_id=self.eot_token_id, rows_per_pass=self.batch_size
        )
        for group, likelihoods in zip(by_context.values(), found, strict=True):
            results.update(zip(group, likelihoods, strict=True))
        apart = super()._loglikelihood_tokens(
            [requests[number] for number in long], disable_tqdm=disable_tqdm, override_bs=override_bs
        )
        results.update(zip(long, apart, strict=True))
        return [results[number] for number in range(len(requests))]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        return super().generate_until(requests, disable_tqdm=disable_tqdm)

    def _model_generate(self, context: Tensor, max_length: int, stop: list[str], **options: object) -> Tensor:
        # A generation config may name no end of text. HFLM would then let the rows run on, and would decode what
        # follows the end of text as part of the answer, because it leaves special tokens out of the decoded text.
        ends = self.model.generation_config.eos_token_id
        ends = {self.eot_token_id, *(ends if isinstance(ends, list) else [] if ends is None else [ends])}
        return super()._model_generate(context, max_length, stop, eos_token_id=sorted(ends), **options)


def _without_run_details(raw: Mapping) -> dict:
    """lm-eval's results without dates, paths, function addresses and samples."""
    kept = ("results", "versions", "n-shot", "n-samples", "higher_is_better")
    settings = ("output_type", "num_fewshot", "generation_kwargs", "target_delimiter", "fewshot_delimiter")
    configs = {task: {key: config[key] for key in settings if key in config} for task, config in raw["configs"].items()}
    return {"lm_eval_version": lm_eval.__version__, **{key: raw[key] for key in kept}, "configs": configs}
