"""Data of an experiment: public data sets, the user's own or the generated world, all written to the same files."""
