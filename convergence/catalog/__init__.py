"""What the platform holds, as pages that need no server."""
