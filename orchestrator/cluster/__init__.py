"""Ray: the nodes, what is placed on them, and what they are sent."""
