"""Reference points that stand beside every trained network."""
