"""Benchmarks the service against the floor, a minimal program; see README.md."""
