"""What a run shows on the terminal, or as lines of JSON."""
