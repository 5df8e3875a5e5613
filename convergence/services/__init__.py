"""Servers that the platform starts itself: from jars that are checked, on loopback, with all state below one folder."""
