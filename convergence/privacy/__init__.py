"""Personal data that nobody declared: where they stand in text."""
