"""Training: pretraining of the base model, healing of the memory layers, learning of a stream."""
