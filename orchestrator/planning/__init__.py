"""What a run consists of, and what it is expected to take."""
