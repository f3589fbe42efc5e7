"""Report of teaching, fact by fact, with the reason why a fact is not known; as text for the terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from smf.streams.facts import Fact
from smf.teaching.ask import Reply
from smf.teaching.knowledge import Neighbour, Wordings
from smf.teaching.lesson_paraphrases import Paraphrased

_LONGEST = 100  # characters of a question or an answer that are shown
_MOST_NEIGHBOURS = 5  # changed neighbours that are shown


@dataclass(frozen=True)
class TaughtFact:
    """The result of teaching one fact.

    Attributes:
        fact_id: The fact's id.
        before: The model's replies before anything was taught, see :func:`smf.teaching.ask.quiz`.
        after: Its replies once all facts are taught.
        losses: Loss of the fact's texts before each step, in nats per token.
        steps: Number of steps taken.
        acquired: Whether the question was answered right after the fact's own steps; None for a fact without one.
        wordings: In which wordings it is known once all facts are taught.
    """

    fact_id: str
    before: tuple[Reply, ...]
    after: tuple[Reply, ...]
    losses: tuple[float, ...]
    steps: int
    acquired: bool | None
    wordings: Wordings = Wordings((), ())

    @property
    def known(self) -> bool | None:
        """See :func:`is_known`."""
        return is_known(self.after)


@dataclass(frozen=True)
class Taught:
    """The result of teaching.

    Attributes:
        facts: The result for each fact.
        probes: The score of each held-out set before and after, by metric.
        num_slots: Slots in the patch.
        stop_loss: A fact's steps ended when its loss fell below this, in nats per token.
        most_steps: Most steps per fact.
        neighbours: The model's replies to prompts that no fact is about.
        paraphrased: Counts of the model's paraphrases; None if none were asked for.
    """

    facts: tuple[TaughtFact, ...]
    probes: Mapping[str, tuple[float, float]]
    num_slots: int
    stop_loss: float
    most_steps: int
    neighbours: tuple[Neighbour, ...] = ()
    paraphrased: Paraphrased | None = None

    @property
    def unknown(self) -> list[TaughtFact]:
        """The facts that are asked but not known."""
        return [fact for fact in self.facts if fact.known is False]


def is_known(replies: Sequence[Reply]) -> bool | None:
    """Whether a fact is known: its question is answered or, if it has none, each of its unseen prompts.

    None for a fact without a question or unseen prompts.
    """
    return all(reply.right for reply in replies) if replies else None


def why_unknown(fact: TaughtFact, stop_loss: float, most_steps: int) -> str:
    """Explain why a fact is not known, as far as its steps tell, and what to try."""
    if fact.acquired:
        return "it was answered right after its own steps; facts that were taught later changed that"
    loss = fact.losses[-1]
    if not fact.steps:
        return (
            f"nothing was taught: the loss of its texts was {loss:.3g} before the first step, below the stop loss of "
            f"{stop_loss:g}, so the model already completes them; statements in other words may help, or --stop-loss"
        )
    if fact.steps < most_steps:
        return (
            f"the loss of its texts fell to {loss:.3g} after {fact.steps} steps, below the stop loss of {stop_loss:g}: "
            "they were learned, but do not carry over to what is asked; statements nearer to it may help, or a lower "
            "--stop-loss"
        )
    return (
        f"the loss of its texts was {fact.losses[0]:.3g} before the first of {most_steps} steps and still {loss:.3g} "
        f"before the last, where the stop loss is {stop_loss:g}: it was not learned; more --steps may help, no "
        "--learning-rate where one bounds them, or wordings that are less strange to the model"
    )


def taught_text(taught: Taught, out: object) -> str:
    """The result of teaching as text for the terminal.

    Args:
        taught: The result.
        out: Where the patch is.
    """
    words = {True: "known", False: "not known", None: "not asked"}
    lines = []
    for fact in taught.facts:
        lines.append(f"{words[fact.known]:<10} {fact.steps:>3} steps  {fact.fact_id}{_in_wordings(fact)}")
        if fact.known is False:
            for reply, old in zip(fact.after, fact.before, strict=True):
                if not reply.right:
                    same = ", as before" if reply.said == old.said else f"; before, {_shown(old.said)}"
                    lines.append(f"    {_shown(reply.asked)} is answered {_shown(reply.said)}{same}")
            lines.append(f"    {why_unknown(fact, taught.stop_loss, taught.most_steps)}")
    lines += _counted([fact.after for fact in taught.facts])
    lines += _counted_unseen(taught.facts)
    lines += _neighbours(taught.neighbours)
    lines += _paraphrases(taught.paraphrased)
    for metric, (before, after) in taught.probes.items():
        lines.append(f"{metric}: {before:.3f} before, {after:.3f} after")
    number = len(taught.facts)
    lines.append(f"{out} holds {number:,} fact{'s' * (number != 1)} in {taught.num_slots:,} slots")
    return "\n".join(lines)


def _in_wordings(fact: TaughtFact) -> str:
    """In how many wordings the fact is known, if it has any that can be completed."""
    found = (fact.wordings.taught, "taught"), (fact.wordings.unseen, "unseen")
    parts = [f"{sum(known)} of {len(known)} {what}" for known, what in found if known]
    return f"  ({', '.join(parts)} wordings)" if parts else ""


def _counted_unseen(facts: Sequence[TaughtFact]) -> list[str]:
    """How many unseen wordings are completed, for facts with a question; those of other facts were already asked."""
    asked = [fact for fact in facts if any(reply.is_question for reply in fact.after)]
    unseen = [known for fact in asked for known in fact.wordings.unseen]
    return [f"{sum(unseen)} of {len(unseen)} wordings that were never taught are completed"] if unseen else []


def _neighbours(neighbours: Sequence[Neighbour]) -> list[str]:
    """How many neighbours are unchanged, and the first changed ones."""
    if not neighbours:
        return []
    changed = [neighbour for neighbour in neighbours if not neighbour.unchanged]
    lines = [f"neighbours: {len(neighbours) - len(changed)} of {len(neighbours)} unchanged"]
    for each in changed[:_MOST_NEIGHBOURS]:
        asked = each.prompt.removeprefix("Q: ").removesuffix("\nA:")
        lines.append(f"    {_shown(asked)} continues {_shown(each.after)}; before, {_shown(each.before)}")
    if more := len(changed) - _MOST_NEIGHBOURS:
        lines += [f"    … and {more} more"] if more > 0 else []
    return lines


def _paraphrases(report: Paraphrased | None) -> list[str]:
    if report is None:
        return []
    reasons = ", ".join(f"{number} {reason}" for reason, number in report.dropped.items()) or "none"
    return [f"paraphrases by the model: {report.kept} of {report.wanted} were found and taught; dropped: {reasons}"]


def preview_text(facts: Sequence[Fact], replies: Sequence[Sequence[Reply]], most_steps: int) -> str:
    """The facts that would be taught and the model's answers now, as text for the terminal.

    Args:
        facts: The facts.
        replies: The model's replies for each, see :func:`smf.teaching.ask.quiz`.
        most_steps: Most steps per fact.
    """
    words = {True: "known", False: "not known", None: "not asked"}
    lines = []
    for fact, said in zip(facts, replies, strict=True):
        taught = f"{len(fact.train_prompts)} prompts and {len(fact.train_texts)} whole texts to learn"
        lines.append(f"{words[is_known(said)]:<10} {fact.fact_id}: {taught}")
        lines += [f"    {_shown(reply.asked)} is answered {_shown(reply.said)}" for reply in said]
    lines += _counted(replies)
    lines.append(f"nothing was taught or written; without --dry-run each fact takes {most_steps} steps at most")
    return "\n".join(lines)


def _counted(replies: Sequence[Sequence[Reply]]) -> list[str]:
    """How many questions and how many unseen prompts are answered; a line only for those that were asked."""
    every = [reply for of_fact in replies for reply in of_fact]
    lines = []
    for is_question, what in ((True, "questions are answered"), (False, "unseen prompts are completed")):
        right = [reply.right for reply in every if reply.is_question is is_question]
        if right:
            lines.append(f"{sum(right)} of {len(right)} {what} as taught")
    return lines or ["nothing was asked: no fact has a question or unseen prompts"]


def _shown(text: str) -> str:
    """A text in quotes on one line, truncated if it is long."""
    cut = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return '"' + "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in cut) + '"'
