"""One module per rule: read artifacts, call the library, write artifacts. Paths and settings are arguments."""
