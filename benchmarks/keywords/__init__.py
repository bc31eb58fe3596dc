"""Keyword spotting from synthesised speech."""
