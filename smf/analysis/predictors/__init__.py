"""What predicts how much a run of sparse memory forgets: properties of the slots that it wrote, and the divergence."""
