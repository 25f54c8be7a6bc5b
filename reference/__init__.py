"""Builds docs/openapi.json; only developers run this package."""
