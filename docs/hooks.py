"""What mkdocs calls: adds the pages that are made from the code."""

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from docs.made import pages


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add them to those that lie in ``docs/``."""
    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files
