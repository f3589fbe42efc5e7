"""The figure of benchmarks/memory.py."""

import statistics
from pathlib import Path

import matplotlib.pyplot as plt

COLORS = ("#0072b2", "#56b4e9", "#d55e00", "#e69f00", "#009e73", "#cc79a7")
METHODS = {"smf": "sparse memory\nfinetuning", "lora": "LoRA", "full": "full\nfinetuning"}


def draw(result: dict, path: Path) -> None:
    """Write ``path.png`` and ``path.pdf``: step time and peak memory over the table's size, and stream steps."""
    figure, (time, memory, stream) = plt.subplots(1, 3, figsize=(14, 4.6), width_ratios=(3, 3, 2), layout="constrained")
    cells = [cell for cell in result["cells"] if cell["value_dim"] == 256]
    for color, name in zip(COLORS, dict.fromkeys(cell["implementation"] for cell in cells), strict=False):
        own = sorted((cell for cell in cells if cell["implementation"] == name), key=lambda cell: cell["num_slots"])
        slots = [cell["num_slots"] for cell in own]
        style = {"color": color, "marker": "o", "label": name, "linewidth": 2.5 if "smf" in name else 1.5}
        time.plot(slots, [1000 * statistics.median(cell["seconds"]) for cell in own], **style)
        memory.plot(slots, [cell["peak_bytes"] / 1e9 for cell in own], **style)
    table = sorted({cell["num_slots"] for cell in cells})
    memory.plot(
        table, [slots * 256 * 4 / 1e9 for slots in table], color="grey", linestyle=":", label="the table itself"
    )
    for axes, title, label in (
        (time, "One step on the slots", "CPU milliseconds, one thread"),
        (memory, "Peak memory of these steps", "GB above the interpreter"),
    ):
        axes.set(title=title, xlabel="slots in the table (256 values each)", ylabel=label, xscale="log", yscale="log")
        axes.set_xticks(table, [f"2$^{{{slots.bit_length() - 1}}}$" for slots in table])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    memory.legend(fontsize=8, frameon=False)
    kinds = list(METHODS)
    seconds = [statistics.median(result["streams"][kind]["seconds"]) for kind in kinds]
    bars = stream.bar([METHODS[kind] for kind in kinds], seconds, color=("#0072b2", "#e69f00", "#d55e00"))
    stream.bar_label(bars, [f"{result['streams'][kind]['peak_bytes'] / 1e9:.1f} GB" for kind in kinds], padding=2)
    model = "a small model" if result["setting"]["quick"] else "the shape of Qwen2.5-0.5B"
    stream.set(title=f"A stream step,\n{model}", ylabel="CPU seconds, one thread (peak memory above)")
    stream.margins(y=0.12)
    for axes in (time, memory, stream):
        axes.spines[["top", "right"]].set_visible(False)
    for suffix in (".png", ".pdf"):
        figure.savefig(path.with_suffix(suffix), dpi=150)
    plt.close(figure)
