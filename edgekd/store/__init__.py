"""Folders that are whole or absent: written beside, sealed by checksums, locked, renamed into place, swept."""
