"""Limits that pipeline files, manifests and both command lines have in common."""

MOST_THREADS = 256
"""Threads of one inference."""
MOST_BATCH = 1024
"""Images of one inference."""
MOST_IMAGE_SIZE = 1024
"""Pixels of a side of what a model sees."""
MOST_CHANNELS = 256
"""Channels of what a model sees."""
