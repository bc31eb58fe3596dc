"""Finished runs held against each other: as records, in a terminal, as a page."""
