"""The report: measuring, verdict, record and terminal output; the page and comparisons are packages of their own."""
