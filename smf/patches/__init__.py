"""What a stream learned as a file that can be looked at, shipped, put on, taken off, and forgotten fact by fact."""
