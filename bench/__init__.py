"""Loads the service beside a bare floor and prints what both reached; see README.md."""
