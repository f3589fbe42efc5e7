"""What typed settings are made of: strict types with limits, messages of one line, a JSON schema for editors."""
