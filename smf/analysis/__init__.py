"""One analysis a folder: what it computes, its table and its figure. Tables and figures need no torch."""
