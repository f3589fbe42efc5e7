"""The overview: what each method learned, what it forgot in exchange, and what it left unchanged."""
