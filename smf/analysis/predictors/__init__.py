"""What predicts how much a run forgets: properties of the slots that it wrote, and, for all methods, the divergence."""
