"""``edgekd search``: many settings of one pipeline file are tried, and the best measured files are kept."""
