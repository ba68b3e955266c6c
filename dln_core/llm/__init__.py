"""The way to a language model: one interface, small transports around an engine."""
