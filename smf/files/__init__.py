"""Files on disk: whole or not there at all, sealed, and read back with an error that names the file."""
