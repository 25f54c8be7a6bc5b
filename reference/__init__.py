"""Build docs/openapi.json; only a developer runs this."""
