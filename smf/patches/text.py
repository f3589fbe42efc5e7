"""Human-readable text about patches."""

from collections import Counter
from collections.abc import Sequence

import torch

from smf.patches.contradictions import Contradiction
from smf.patches.forget import Forgotten
from smf.patches.patch import MemoryPatch, fact_content, fact_names
from smf.patches.stack import Conflicts

_MOST = 10


def info_text(patch: MemoryPatch, size: int, *, facts: bool) -> str:
    """Describe a patch.

    Args:
        patch: The patch.
        size: Size of the file in bytes.
        facts: Whether to list every fact.
    """
    values = sum(2 * layer.after_RV.numel() * layer.after_RV.element_size() for layer in patch.layers.values())
    lines = [
        f"base    {patch.base_hash[:12]}",
        f"facts   {len(patch.facts):,}",
        f"slots   {patch.num_rows:,}: "
        + ", ".join(f"{len(layer.slots_R):,} in block {block}" for block, layer in sorted(patch.layers.items())),
        f"size    {size:,} bytes, {size / values:.2f} times those of its slot values"
        if values
        else f"size    {size:,} bytes",
    ]
    if "seed" in patch.provenance:
        lines.append(f"seed    {patch.provenance['seed']}")
    if not facts:
        return "\n".join([*lines, "", "smf patch info PATCH --facts lists the facts"])
    alone, shared = _rows_by_lesson(patch)
    ids = Counter(fact_id for fact_id, *_ in {fact_content(fact) for fact in patch.facts})
    lines += ["", f"{'fact':<40} {'slots':>7} {'shared':>7}  question → answer"]
    for number, lesson in enumerate(patch.lessons):
        for place in lesson:
            fact = patch.facts[place]
            asked = _line(f"{fact['question']} → {fact['answer']}" if fact["question"] else fact["answer"])
            name = _line(fact["fact_id"] if ids[fact["fact_id"]] == 1 else fact_names(fact)[1])
            lines.append(f"{name:<40} {alone[number] + shared[number]:>7,} {shared[number]:>7,}  {asked}")
    return "\n".join([*lines, "", "slots: written by the fact; shared: those of them that other facts wrote too"])


def forgotten_text(fact_ids: list[str], report: Forgotten) -> str:
    """Report what forgetting did."""
    lines = [
        f"forgot {_line(', '.join(fact_ids))}",
        f"{report.num_restored:,} slots are back at their values in the base",
        f"{report.num_moved_back:,} slots that other facts wrote too lost only the forgotten facts' change",
        f"{report.num_left:,} such slots were left as they are: the forgotten facts had hardly moved them",
    ]
    if report.shared_with:
        lines += ["", "shared slots with:"]
        lines += [f"  {_line(fact_id):<40} {number:>7,}" for fact_id, number in [*report.shared_with.items()][:_MOST]]
        if len(report.shared_with) > _MOST:
            lines.append(f"  and {len(report.shared_with) - _MOST:,} further facts")
    return "\n".join(lines)


def conflicts_text(found: Conflicts, contradicting: Sequence[Contradiction] = ()) -> str:
    """Report where two patches write the same slots, and which questions they answer differently."""
    lines = [_line(each.text(("the first", "the second"))) for each in contradicting[:_MOST]]
    if len(contradicting) > _MOST:
        lines.append(f"and {len(contradicting) - _MOST:,} further questions that are answered differently")
    total = sum(found.num_rows.values())
    if not total:
        return "\n".join([*lines, "no slot is written by both"])
    blocks = ", ".join(f"{number:,} in block {block}" for block, number in found.num_rows.items())
    lines += [
        f"{total:,} slots are written by both: {blocks}",
        f"they hold {found.shares[0]:.1%} of the first patch's squared movement and {found.shares[1]:.1%} of the "
        f"second's; its cosine there is {found.cosine:.2f} (1: they agree; 0: they are independent; -1: one undoes the "
        "other)",
        "",
        f"{'first':<40} {'second':<40} {'slots':>7}",
    ]
    lines += [f"{_line(mine):<40} {_line(yours):<40} {number:>7,}" for mine, yours, number in found.facts[:_MOST]]
    if len(found.facts) > _MOST:
        lines.append(f"and {len(found.facts) - _MOST:,} further pairs of facts")
    return "\n".join(lines)


def diff_text(first: MemoryPatch, second: MemoryPatch) -> str:
    """Report the differences between two patches."""
    facts = [[fact_content(fact) for fact in patch.facts] for patch in (first, second)]
    lines = []
    for title, mine, yours in (("only in the first", *facts), ("only in the second", *reversed(facts))):
        only = [content[0] for content in mine if content not in set(yours)]
        lines.append(f"{len(only):,} facts {title}" + (f": {_line(', '.join(only[:_MOST]))}" if only else ""))
        if len(only) > _MOST:
            lines[-1] += ", …"
    for block in sorted(first.layers.keys() | second.layers.keys()):
        one, other = first.layers.get(block), second.layers.get(block)
        if one is None or other is None:
            lines.append(f"block {block}: only in the {'second' if one is None else 'first'}")
            continue
        mine_R, yours_R = torch.isin(one.slots_R, other.slots_R), torch.isin(other.slots_R, one.slots_R)
        differ = (one.after_RV[mine_R] != other.after_RV[yours_R]).any(1)
        lines.append(
            f"block {block}: {int((~mine_R).sum()):,} slots only in the first, {int((~yours_R).sum()):,} only in the "
            f"second, {int(differ.sum()):,} of {int(mine_R.sum()):,} common ones with other values"
        )
    if first.base_hash != second.base_hash:
        lines.append("they were learned from different models")
    return "\n".join(lines)


def stacked_text(patch: MemoryPatch, out: object, number: int) -> str:
    """Report what stacking wrote.

    Args:
        patch: The stack.
        out: Its path.
        number: Number of patches in the stack.
    """
    return f"{out} holds {_many(number, 'patch', 'patches')}: {_facts_and_slots(patch)}"


def applied_text(patch: MemoryPatch | None, out: object, number: int) -> str:
    """Report what a written model folder holds.

    Args:
        patch: All its patches as one; None if it has none.
        out: The folder.
        number: Number of its patches.
    """
    if patch is None:
        return f"{out} is the base again, bit for bit, without patches"
    return f"{out} is the base with {_many(number, 'patch', 'patches')} on it: {_facts_and_slots(patch)}"


def _facts_and_slots(patch: MemoryPatch) -> str:
    return f"{_many(len(patch.facts), 'fact', 'facts')} in {_many(patch.num_rows, 'slot', 'slots')}"


def _many(number: int, one: str, more: str) -> str:
    return f"{number:,} {one if number == 1 else more}"


def _line(text: str) -> str:
    """Make untrusted text safe to print on one line: escapes control characters."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def _rows_by_lesson(patch: MemoryPatch) -> tuple[list[int], list[int]]:
    """For each lesson, the number of rows that it alone wrote, and of those that others wrote too."""
    alone, shared = [0] * len(patch.lessons), [0] * len(patch.lessons)
    for layer in patch.layers.values():
        of_many_W = (layer.num_writers_R > 1)[layer.writer_rows_W]
        for lesson, many in zip(layer.writers_W.tolist(), of_many_W.tolist(), strict=True):
            (shared if many else alone)[lesson] += 1
    return alone, shared
