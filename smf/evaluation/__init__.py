"""Evaluation of models: the only bridge to lm-eval, our own tasks, and the metrics that lm-eval does not have."""
