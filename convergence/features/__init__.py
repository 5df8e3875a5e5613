"""Feature views and the point-in-time operators that compute them."""
