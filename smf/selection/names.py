"""The names of the selectors, and of the tokens that may write.

Free of torch: the config is checked against them at every start of the workflow.
"""

ALL_ACCESSED = "none"
SELECTORS = ("tfidf", "kl", "tf", "random", ALL_ACCESSED)
WRITE_AT = ("all", "subject", "subject_and_answer")
