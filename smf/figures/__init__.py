"""Tables in, figures out: no torch, no file reading."""
