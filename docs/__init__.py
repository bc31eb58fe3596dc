"""The documentation site: pages by hand, and those that are made from the code."""
