"""The wordings that teach and test a fact: its own, composed from templates, or written by an instruct model."""
