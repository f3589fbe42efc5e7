"""What each method learned, what it lost for that, and what it left alone."""
