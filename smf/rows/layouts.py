"""Sets that go round in two layouts: their rows as the layout that we read."""

import ast
from collections.abc import Callable, Mapping


def _simpleqa(row: Mapping) -> Mapping:
    """SimpleQA (Wei et al., 2024) as OpenAI gives it: ``problem``, ``answer``, and ``metadata`` as Python text."""
    if "question" in row or "problem" not in row:
        return row
    metadata = row.get("metadata")
    if isinstance(metadata, str):
        try:
            metadata = ast.literal_eval(metadata)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            metadata = None  # without addresses a question can still be asked; where they are needed, they are missed
    urls = {"urls": metadata["urls"]} if isinstance(metadata, dict) and "urls" in metadata else {}
    return {**row, "question": row["problem"], **urls}


LAYOUTS: dict[str, Callable[[Mapping], Mapping]] = {"simpleqa": _simpleqa, "simpleqa_documents": _simpleqa}
"""By format: what makes a row of a set's other layout one of the layout that is read, and leaves all others alone."""
