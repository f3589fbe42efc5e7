"""The work of smf retrofit, teach and ask: add a memory to a user's model, teach it the user's facts, and ask it."""
