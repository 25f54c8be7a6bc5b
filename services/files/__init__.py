"""Leads and meetings as files: CSV, or JSON lines (one object on each line)."""
