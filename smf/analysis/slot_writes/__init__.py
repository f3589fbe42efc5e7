"""Which slots streams wrote, by how much ordinary text uses them."""
