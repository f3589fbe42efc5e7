"""What models read: the generated world, question sets, fact streams, corpora and batches."""
