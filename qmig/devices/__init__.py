"""Device state, decoded by the description that the stream carries of it."""
