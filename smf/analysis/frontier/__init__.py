"""Frontiers: what each method retains against what it forgets, at several strengths."""
