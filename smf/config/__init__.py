"""The config of an experiment: its files, every key with type, default and limits, and whether sections agree."""
