"""The report: records, verdict, table, HTML."""
