"""What use cases are made of, each part once; a use case says only what is its own."""
