"""Comparison of finished runs: as records, in a terminal, as a page."""
