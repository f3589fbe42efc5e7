"""Ways to learn a stream, one per file: a new file with a :class:`~smf.methods.method.Method` is a new kind."""
