"""The bundle, ``exports/<name>/``: everything that is shipped; needs no torch."""
