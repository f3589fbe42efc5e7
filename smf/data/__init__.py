"""What an experiment reads: public data sets, the user's own or the generated world, written to the same files."""
