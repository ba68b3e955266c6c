"""Candidate prompts: what is proposed, of which kind, and what is refused."""
