"""Does forgetting one fact take that fact away, and nothing else?

    python benchmarks/forget.py results/healed results/runs/smf_trust/seed-0/learn/position-100.safetensors \
        results/streams/seed-0.jsonl results/data/held_out/nq.jsonl

Of facts that the patched model answers, as many as --number are forgotten, one at a time, each from the whole patch.
Printed are the share of them that is still answered, the share of the other answered facts that still is, and the
share of held-out questions answered with the whole patch and without each fact. An answer is the taught one, token by
token, to the question that was never taught.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from smf.evaluation.recall import recall
from smf.files.artifacts import read_jsonl
from smf.models.checkpoint import load_model, load_tokenizer, model_hash
from smf.patches.apply import apply, revert
from smf.patches.forget import forget
from smf.patches.patch import MemoryPatch, read_patch, require_base
from smf.seeding import python_generator
from smf.streams.examples import Example
from smf.streams.facts import question_prompt, read_facts

MAX_LENGTH = 128


def main() -> None:
    """Forget facts one at a time, and ask."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("patch", type=Path)
    parser.add_argument("facts", type=Path, help="the stream")
    parser.add_argument("held_out", type=Path, help="questions, JSONL in the nq_open schema")
    parser.add_argument("--number", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the facts that are forgotten")
    options = parser.parse_args()
    model, tokenizer, patch = load_model(options.model, "cpu"), load_tokenizer(options.model), read_patch(options.patch)
    require_base(patch, model_hash(options.model), options.patch, options.model)
    facts = [fact for fact in read_facts(options.facts) if fact.question]
    asked = [fact.asked() for fact in facts]
    rows = read_jsonl(options.held_out, {"question": str, "answer": list})
    old = [Example(question_prompt(row["question"]), f" {row['answer'][0]}") for row in rows]

    def answered(held: MemoryPatch, questions: Sequence[Example]) -> list[bool]:
        apply(model, [held])
        try:
            return recall(model, tokenizer, questions, MAX_LENGTH)
        finally:
            revert(model, [held])

    before = answered(patch, asked)
    known = [place for place, right in enumerate(before) if right]
    chosen = python_generator(options.seed, "forget").sample(known, min(options.number, len(known)))
    old_before = sum(answered(patch, old)) / len(old)
    still, others, old_after = [], [], []
    for place in chosen:
        left, _ = forget(patch, [facts[place].fact_id])
        after = answered(left, asked)
        still.append(after[place])
        others.append(sum(after[other] for other in known if other != place) / (len(known) - 1))
        old_after.append(sum(answered(left, old)) / len(old))
    sys.stdout.write(
        f"{len(known)} of {len(facts)} facts are answered; {len(chosen)} of them were forgotten, one at a time\n"
        f"forgotten facts that are still answered: {sum(still)} of {len(still)}\n"
        f"other answered facts that still are: {sum(others) / len(others):.2%} on average, {min(others):.2%} at least\n"
        f"held-out questions answered: {old_before:.2%} with the whole patch, "
        f"{sum(old_after) / len(old_after):.2%} without one fact, {min(old_after):.2%} at least\n"
    )


if __name__ == "__main__":
    main()
