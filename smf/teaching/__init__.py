"""What smf retrofit, teach and ask do: from a model and files of the user's own to a taught model, and answers."""
