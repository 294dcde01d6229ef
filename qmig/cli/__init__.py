"""The command line, one module a verb; a thin client of the Python API."""
