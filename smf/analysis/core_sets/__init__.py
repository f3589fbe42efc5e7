"""Core sets: which slots all texts of a fact read, which of them train, and how few are enough."""
