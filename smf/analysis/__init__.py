"""One analysis per folder: its computation, table and figure. Tables and figures need no torch."""
