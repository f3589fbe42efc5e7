"""Data sets that are distributed in two layouts: convert rows to the layout that we read."""

import ast
from collections.abc import Callable, Mapping


def _simpleqa(row: Mapping) -> Mapping:
    """SimpleQA (Wei et al., 2024) as OpenAI publishes it: ``problem``, ``answer``, ``metadata`` as Python source."""
    if "question" in row or "problem" not in row:
        return row
    metadata = row.get("metadata")
    if isinstance(metadata, str):
        try:
            metadata = ast.literal_eval(metadata)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            metadata = None  # a question needs no URLs; where they are needed, the column check finds none
    urls = {"urls": metadata["urls"]} if isinstance(metadata, dict) and "urls" in metadata else {}
    return {**row, "question": row["problem"], **urls}


LAYOUTS: dict[str, Callable[[Mapping], Mapping]] = {"simpleqa": _simpleqa, "simpleqa_documents": _simpleqa}
"""By format: converts rows of the set's other layout to the layout that we read, and leaves all other rows alone."""
