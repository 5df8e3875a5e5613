"""Search in text, images and code: encoders, indexes, the fusion of their scores, and what answers a query."""
