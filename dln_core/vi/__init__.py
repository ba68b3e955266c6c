"""The numerics of variational inference over hidden texts: arrays in, arrays out."""
