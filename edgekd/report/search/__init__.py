"""What a search found: as records, in a terminal, as a page."""
