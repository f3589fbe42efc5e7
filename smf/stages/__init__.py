"""One module a rule: read artifacts, call the library, write artifacts. Paths and settings come in as arguments."""
