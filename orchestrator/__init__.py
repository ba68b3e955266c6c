"""Runs sweeps of trials on Ray and records them: the command line of the project."""
