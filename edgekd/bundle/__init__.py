"""The bundle: what leaves the workshop, ``exports/<name>/``; checked without torch."""
