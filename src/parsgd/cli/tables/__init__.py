"""Tables on the command line: read, encoded, kept in model files."""
