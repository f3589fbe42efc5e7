"""Scores: metric names, the tidy table, its summary, and their wording in figures. Runs no model."""
