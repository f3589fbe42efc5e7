"""Rows of data sets, from files in common formats or from the hub, each checked for its columns."""
