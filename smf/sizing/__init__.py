"""Sizing: what an experiment needs in memory, disk and work, from its config alone. Loads no weights and no torch."""
