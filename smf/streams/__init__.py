"""What models learn: facts, how these are asked, ordinary text beside them; as token ids, in batches."""
