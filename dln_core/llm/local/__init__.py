"""Language models that come with the install: weights, a CPU engine and a server for it."""
