"""Delta tables whose every commit says what it holds and what it was made from."""
