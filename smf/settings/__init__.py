"""Building blocks of typed settings: strict types with limits, one-line error messages, a JSON schema for editors."""
