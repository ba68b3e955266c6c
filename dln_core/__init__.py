"""Deep Language Networks: layers of language model calls whose parameters are prompts."""
