"""Reading: bytes become a `Capture`."""
