"""From the command line to typed, checked settings."""
