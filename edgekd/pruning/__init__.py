"""Structured pruning: whole channels go, along torch-pruning's dependency graph, to widths the target likes.

``criteria`` and ``plan`` need no torch-pruning, which takes seconds to import; ``prune`` does.
"""
