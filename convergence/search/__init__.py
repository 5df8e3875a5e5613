"""Text, images and code in one search: encoders, indexes, the fusion of their scores, and what answers a query."""
