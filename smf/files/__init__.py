"""Files on disk: written whole or not at all, sealed, and read back with errors that name the file."""
