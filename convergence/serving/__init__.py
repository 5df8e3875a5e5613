"""The HTTP service: scores and features in one request's time, whatever else is down."""
