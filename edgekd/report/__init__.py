"""What a report is and how it is made; its page and comparisons stand in packages of their own."""
