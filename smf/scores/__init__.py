"""What scores say: names of metrics, the tidy table, its summary, the words for them. No model is asked here."""
