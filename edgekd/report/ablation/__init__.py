"""What each choice of a pipeline paid, over several seeds: the record, the page, the terminal."""
