"""Structured pruning: removes whole channels along torch-pruning's dependency graph, to widths that suit the target.

``criteria`` and ``plan`` need no torch-pruning, which takes seconds to import; ``prune`` does.
"""
