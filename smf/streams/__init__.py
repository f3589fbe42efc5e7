"""Text that models read and learn: facts, question prompts and ordinary text, as token ids in batches."""
