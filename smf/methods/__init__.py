"""Ways to learn a stream, one a file. A new file with a :class:`~smf.methods.method.Method` is a new kind."""
