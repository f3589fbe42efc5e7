"""The project's main figure: held-out performance and retained facts along the stream, and at its end."""
