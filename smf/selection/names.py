"""The names of the selectors, and of the tokens that may write.

Does not import torch: the workflow checks the config against these names at every start.
"""

from typing import Final, Literal, get_args

ALL_ACCESSED: Final = "none"
Selector = Literal["tfidf", "kl", "tf", "random", "none"]
WritingTokens = Literal["all", "subject", "subject_and_answer"]
SELECTORS: tuple[str, ...] = get_args(Selector)
WRITE_AT: tuple[str, ...] = get_args(WritingTokens)
