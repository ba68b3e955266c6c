"""Search over settings: what may vary, which settings are tried, and the rounds of a run."""
