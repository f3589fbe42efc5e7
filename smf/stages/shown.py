"""What figures of scores show, and the words for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from smf.files.artifacts import read_json
from smf.scores.metrics import HeldOutMetric, held_out_metric


@dataclass(frozen=True)
class Shown:
    """What a figure of scores shows.

    Attributes:
        labels_path: The ``labels.json`` of the data.
        starts: For each method, in the order that fixes the colours, the model that it starts from.
        asked: Number of items asked, for held-out sets that are not asked in full.
        headline: The held-out metrics.
        kinds: The held-out sets and lm-eval tasks by name, each with its kind.
        words: More labels, such as ``methods``, a few words on each.
    """

    labels_path: str | Path
    starts: Mapping[str, str]
    asked: Mapping[str, int | None]
    headline: Sequence[str]
    kinds: Mapping[str, str]
    words: Mapping[str, object] = field(default_factory=dict)

    @property
    def metrics(self) -> list[HeldOutMetric]:
        """The held-out metrics, parsed from their names."""
        return [held_out_metric(name, self.kinds) for name in self.headline]

    def labels(self) -> dict:
        """Read the data's labels; add how many items were asked, and ``words``."""
        labels = read_json(self.labels_path)
        for name, number in self.asked.items():
            if number is not None and name in labels["held_out"]:
                labels["held_out"][name] += f"; {number:,} asked"
        return {**labels, **self.words}
