"""Evaluation: lm-eval tasks of our own, the one bridge to lm-eval, and what the scores say."""
