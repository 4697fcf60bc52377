"""Reading and encoding of tables on the command line, and the encoding in model files."""
