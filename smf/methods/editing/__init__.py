"""What knowledge editors are made of: the maps that they edit, keys and their statistics, subjects, target vectors."""
