"""How evenly ordinary text uses the memory."""
