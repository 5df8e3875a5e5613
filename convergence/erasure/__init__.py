"""Removing one data subject from everything that the platform keeps, so that it does not come back."""
