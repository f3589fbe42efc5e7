"""In which words a fact is taught and asked: its own, composed offline, or written by an instruct model."""
