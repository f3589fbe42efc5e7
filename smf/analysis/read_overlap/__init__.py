"""What a choice of slots reaches before anything is learned: how far a write carries, and what it disturbs."""
