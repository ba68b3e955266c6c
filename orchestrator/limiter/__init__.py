"""The limits of an endpoint, kept by all actors of a cluster together."""
