"""What each method retains for what it forgets, at several strengths."""
