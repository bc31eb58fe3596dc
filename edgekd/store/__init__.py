"""Folders that are complete or absent: written under a temporary name, checksummed, locked, renamed atomically."""
