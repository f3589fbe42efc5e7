"""The names of the selectors. Free of torch: the config is checked against them at every start of the workflow."""

ALL_ACCESSED = "none"
SELECTORS = ("tfidf", "kl", "tf", "random", ALL_ACCESSED)
