"""Asking models: the one bridge to lm-eval, tasks of our own, and what is measured beside them."""
