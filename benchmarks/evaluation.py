"""Evaluation by our bridge against lm-eval's own HFLM on the same model: the same results, in less time.

Run from the repository's root:

    python benchmarks/evaluation.py --out results/benchmarks/evaluation.json

Multiple choice has the lengths of HellaSwag (contexts of 20 to 120 tokens, four endings of 10 to 40), questions are
answered in at most 16 tokens, running text has 50 to 400 tokens. One CPU thread, two models with random weights: a
small one, and the shape of Qwen2.5-0.5B. A minute and a quarter of an hour; ``--quick`` leaves the second out.

A real model and real items take the place of the first model, from building requests to scores:

    python benchmarks/evaluation.py --out … --model FOLDER --tokenizer FOLDER --hellaswag FILE --limit 100

FILE holds rows of the HellaSwag schema. Without ``--limit`` all of them are asked, by each side as often as
``--repeats`` says.

An experiment's start model with its memory, asked as the experiment asks a snapshot of it: questions that the base
answers, behind solved examples, HellaSwag, and the facts of the stream of seed 0:

    python benchmarks/evaluation.py --out … --results results/smollm2_cpu --limit 100
"""

import argparse
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

import smf.models  # noqa: F401 (registers the memory model)
from benchmarks.measuring import line, paired_times, ratio, row
from benchmarks.stream_cells import QWEN
from smf.evaluation.documents import read_choices
from smf.evaluation.harness import Evaluator
from smf.evaluation.held_out import held_out_task
from smf.evaluation.language_model import LanguageModel
from smf.evaluation.settings import EvaluationSettings
from smf.models.checkpoint import load_model, load_tokenizer
from smf.streams.asking import PLAIN, Asking
from smf.streams.examples import Example
from smf.streams.facts import read_facts
from smf.training.pretrain import train_tokenizer

SMALL = {
    "vocab_size": 512,
    "hidden_size": 64,
    "num_hidden_layers": 5,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "intermediate_size": 172,
}
BATCH_SIZE, MAX_LENGTH, WINDOW = 16, 512, 128
ENDING_ITEMS = "multiple choice"


def main() -> None:
    """Compare both on both models, or on a model and items from files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    parser.add_argument("--quick", action="store_true", help="the small model alone")
    parser.add_argument("--model", type=Path, help="transformers folder")
    parser.add_argument("--tokenizer", type=Path, help="its tokenizer, if it is in another folder")
    parser.add_argument("--hellaswag", type=Path, help="items, JSONL in the HellaSwag schema")
    parser.add_argument("--results", type=Path, help="folder of an experiment's results, of a real model's preset")
    parser.add_argument("--limit", type=int, help="items asked, a seeded choice; all without it")
    parser.add_argument("--repeats", type=int, default=1, help="how often each side asks them")
    arguments = parser.parse_args()
    if (arguments.model is None) != (arguments.hellaswag is None):
        parser.error("--model and --hellaswag belong together")
    if arguments.results is not None and arguments.model is not None:
        parser.error("--results brings a model of its own; leave --model out")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    if arguments.results is not None:
        rows = compare_snapshot(arguments.results, arguments.limit, arguments.repeats)
    elif arguments.model is not None:
        rows = compare_files(
            arguments.model,
            arguments.tokenizer or arguments.model,
            arguments.hellaswag,
            arguments.limit,
            arguments.repeats,
        )
    else:
        rows = compare("a small model (64 wide, 5 blocks)", SMALL, num_items=100, repeats=5)
        if not arguments.quick:
            rows += compare("the shape of Qwen2.5-0.5B", QWEN, num_items=4, repeats=3)
    for result in rows:
        print(line(result))
    arguments.out.write_text(json.dumps({"rows": rows}, indent=1) + "\n")


def compare(name: str, shape: dict, num_items: int, repeats: int) -> list[dict]:
    """Times and differences of three kinds of requests on random tokens and texts."""
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(Qwen2Config(**shape)).eval()
    tokenizer = train_tokenizer([Example("a text", " of no importance")], 300)
    ours, theirs = sides(model, tokenizer)
    rng = random.Random(0)
    choices = random_choices(rng, shape["vocab_size"], num_items)
    words = ["a", "text", "of", "no", "importance"]
    texts = [" ".join(rng.choices(words, k=rng.randint(25, 200))) for _ in range(2 * num_items)]
    rolling = [Instance("loglikelihood_rolling", {}, (text,), 0) for text in texts]
    prompts = [" ".join(rng.choices(words, k=rng.randint(5, 25))) for _ in range(2 * num_items)]
    until = {"until": ["\n", "."], "max_gen_toks": 16, "do_sample": False}
    questions = [Instance("generate_until", {}, (prompt, dict(until)), 0) for prompt in prompts]
    calls = {
        ENDING_ITEMS: lambda lm: [value for value, _ in lm._loglikelihood_tokens(choices, disable_tqdm=True)],
        "running text": lambda lm: lm.loglikelihood_rolling(rolling, disable_tqdm=True),
        "generated answers": lambda lm: lm.generate_until(questions, disable_tqdm=True),
    }
    return [
        result for kind, call in calls.items() for result in _paired(f"{name}, {kind}", call, ours, theirs, repeats)
    ]


def random_choices(rng: random.Random, vocab_size: int, num_items: int) -> list[tuple]:
    """Requests for the likelihoods of random endings: four of a context, of HellaSwag's lengths."""

    def tokens(fewest: int, most: int) -> list[int]:
        return [rng.randrange(vocab_size) for _ in range(rng.randint(fewest, most))]

    choices = []
    for _ in range(num_items):
        context = tokens(20, 120)
        choices += [(("", ""), context, tokens(10, 40)) for _ in range(4)]
    return choices


def compare_files(folder: Path, tokenizer_folder: Path, items: Path, limit: int | None, repeats: int) -> list[dict]:
    """HellaSwag from a file on a model from a folder, from building requests to scores."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    ours, theirs = sides(model, AutoTokenizer.from_pretrained(tokenizer_folder, local_files_only=True))
    available = read_choices(items)
    number = min(limit or len(available), len(available))
    settings = {"num_items": number, "num_fewshot": 0, "max_new_tokens": 1, "seed": 0}
    task = held_out_task("hellaswag", "choices", items, **settings)
    for lm in (ours, theirs):  # what is done once a process is no part of the comparison
        lm._loglikelihood_tokens([(("", ""), [1, 2, 3], [4, 5])] * 4, disable_tqdm=True)

    metrics: dict[LM, dict[str, float]] = {}

    def scores(lm: HFLM) -> list[float]:
        found = evaluate(lm=lm, task_dict={"tasks": {task.task_name: task}}, bootstrap_iters=1, log_samples=False)
        results = found["results"][task.task_name]
        metrics[lm] = {key: results[f"{key},none"] for key in ("acc", "acc_norm")}
        return [value for instance in task.instances for value, _ in instance.resps]

    name = f"{folder.name}, {number} items of {items.parent.name}"
    rows = _paired(f"{name}, whole evaluation", scores, ours, theirs, repeats)
    for key, value in metrics[theirs].items():
        rows.append(row(f"{name}: {key} less HFLM's, which is {value:.4g}", abs(metrics[ours][key] - value), "<= 1e-6"))
    return rows


def compare_snapshot(results: Path, limit: int | None, repeats: int) -> list[dict]:
    """What a snapshot of an experiment is asked, from building requests to scores.

    ``limit`` is the number of questions, half of them of each set, and of HellaSwag's items.
    """
    model, tokenizer = load_model(results / "healed", "cpu").eval(), load_tokenizer(results / "healed")
    probes = {
        "nq": ("questions", results / "known" / "nq.jsonl"),
        "triviaqa": ("questions", results / "known" / "triviaqa.jsonl"),
        "hellaswag": ("choices", results / "data" / "held_out" / "hellaswag.jsonl"),
    }
    limits = {} if limit is None else {"nq": limit // 2, "triviaqa": limit - limit // 2, "hellaswag": limit}
    settings = EvaluationSettings(num_items=limits, max_new_tokens=12, prompt_format="few_shot")
    facts = read_facts(results / "streams" / "seed-0.jsonl")
    evaluator = Evaluator(probes, facts, settings, tokenizer)
    ours, theirs = sides(model, tokenizer, Asking("few_shot"))
    # Tokens that pass through the model, in all runs.
    read: dict[LM, Counter[str]] = {ours: Counter(), theirs: Counter()}

    def score(lm: HFLM) -> list[float]:
        def generate(requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
            with _counted(model, read[lm], "generated answers"):
                return type(lm).generate_until(lm, requests, disable_tqdm=disable_tqdm)

        lm.generate_until = generate
        with _counted(model, read[lm], "all"):
            return [found["value"] for found in evaluator.score(lm, 0)["scores"]]

    name = f"{results.name}, {2 * limit if limit else 'all'} held-out items, {len(facts)} facts"
    rows = _paired(f"{name}, whole snapshot", score, ours, theirs, repeats, target=">= 3", absolute=True)
    for tokens in read.values():
        tokens[ENDING_ITEMS] = tokens["all"] - tokens["generated answers"]
    return rows + [
        row(f"{name}: tokens through the model, HFLM's over ours, {kind}", read[theirs][kind] / read[ours][kind])
        for kind in ("all", "generated answers", ENDING_ITEMS)
    ]


@contextmanager
def _counted(model: PreTrainedModel, read: Counter[str], kind: str) -> Iterator[None]:
    """Count the tokens, padding included, that pass through the model meanwhile."""

    def count(_: object, inputs: tuple[Tensor, ...]) -> None:
        read[kind] += inputs[0].numel()

    hook = model.get_input_embeddings().register_forward_pre_hook(count)
    try:
        yield
    finally:
        hook.remove()


def sides(model: PreTrainedModel, tokenizer, asking: Asking = PLAIN) -> tuple[LanguageModel, HFLM]:
    """The same model seen by our bridge and by lm-eval's own class."""
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    ours = LanguageModel(model, tokenizer, batch_size=BATCH_SIZE, max_length=MAX_LENGTH, window=WINDOW, asking=asking)
    theirs = _Windowed(
        pretrained=model,
        tokenizer=tokenizer,
        batch_size=BATCH_SIZE,
        max_length=MAX_LENGTH,
        add_bos_token=ours.add_bos_token,
    )
    return ours, theirs


class _Windowed(HFLM):
    """HFLM with our windows of running text: its own are as long as the model's longest input."""

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """HFLM's, with a shorter longest input."""
        self._max_length = WINDOW
        try:
            return super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)
        finally:
            self._max_length = MAX_LENGTH


def _paired(
    name: str, call, ours: LanguageModel, theirs: HFLM, repeats: int, target: str = ">= 2", *, absolute: bool = False
) -> list[dict]:
    """Compare times, and the values that ``call`` returns: relative to HFLM's, or, as they may be 0, ``absolute``."""
    found = {}

    def run(side: str, lm: HFLM) -> None:
        found[side] = call(lm)

    times = paired_times(
        {"ours": lambda: run("ours", ours), "hflm": lambda: run("hflm", theirs)}, repeats, warm_up=int(repeats > 1)
    )
    if repeats > 1:
        faster = row(f"{name}: times faster than HFLM", target=target, **ratio(times["hflm"], times["ours"]))
    else:
        faster = row(f"{name}: times faster than HFLM", times["hflm"][0] / times["ours"][0], target)
    pairs = list(zip(found["ours"], found["hflm"], strict=True))
    if isinstance(pairs[0][0], str):
        return [faster, row(f"{name}: answers that differ", sum(a != b for a, b in pairs), "<= 0")]
    difference = max(abs(a - b) / (1 if absolute else abs(b)) for a, b in pairs)
    return [faster, row(f"{name}: largest {'' if absolute else 'relative '}difference", difference, "<= 1e-6")]


if __name__ == "__main__":
    main()
