"""Which slots streams wrote, over how much ordinary text uses them."""
