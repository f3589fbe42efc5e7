"""All methods of all experiments in one table, and as a page that sorts it and draws any two measures."""
