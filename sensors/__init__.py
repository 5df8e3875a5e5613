"""What starts runs by itself: arrivals and changed inputs."""
