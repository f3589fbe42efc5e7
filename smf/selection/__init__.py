"""Which slots may train: background counts, scores and the choice of the top_t slots."""
