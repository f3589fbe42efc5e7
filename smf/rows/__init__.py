"""Rows of data sets: from files in the containers that people have, or from the hub; each checked for its columns."""
