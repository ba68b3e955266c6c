"""How requests are written and answers read: one small module for each way of asking.

By api, how a text is asked for: ``completions``, ``chat``, ``responses``, ``messages``.  By rung,
how texts are scored: ``score``, ``echo``, ``prompt_logprobs``, ``label``.  By provider, how the
endpoint is addressed and given its key: ``providers``.
"""

from dln_core.llm.adapters import (
    chat,
    completions,
    echo,
    label,
    messages,
    prompt_logprobs,
    responses,
    score,
)
from dln_core.llm.adapters.calls import Call, Generation, Post, Scoring

GENERATIONS: dict[str, Generation] = {
    "completions": completions,
    "chat": chat,
    "responses": responses,
    "messages": messages,
}
SCORINGS: dict[str, Scoring] = {
    "score": score,
    "echo": echo,
    "prompt_logprobs": prompt_logprobs,
    "label": label,
}

__all__ = ["GENERATIONS", "SCORINGS", "Call", "Generation", "Post", "Scoring"]
