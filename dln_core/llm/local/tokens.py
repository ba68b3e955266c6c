"""Text to tokens and back, and the model's own chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dln_core.llm.local.extra import local_extra

Tokens = NDArray[np.int32]

# Both families end a turn with the first and a document with the second.
_END_TOKENS = (b"<|im_end|>", b"<|endoftext|>")


class Tokenizer:
    """The tokenizer of a converted model.

    Attributes:
        end_tokens: Tokens after which a generation is over.
    """

    def __init__(self, folder: Path) -> None:
        self._tokenizer: Any = local_extra("openvino_genai").Tokenizer(str(folder))
        vocabulary: dict[bytes, int] = self._tokenizer.get_vocab()
        self._bytes_of = {token: text for text, token in vocabulary.items()}
        ends = {vocabulary[text] for text in _END_TOKENS if text in vocabulary}
        self.end_tokens = frozenset(ends | {int(self._tokenizer.get_eos_token_id())})

    def encode(self, text: str) -> Tokens:
        """Return the tokens of a text; nothing is put before or after it."""
        if not text:
            return np.zeros(0, dtype=np.int32)
        encoded = self._tokenizer.encode(text, add_special_tokens=False)
        return np.array(encoded.input_ids.data[0], dtype=np.int32)

    def render_chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Return the conversation as the model reads it, up to where the assistant's turn begins.

        The template is the one that came with the weights, with the system turn that it puts in
        where the conversation has none.
        """
        turns = [dict(message) for message in messages]
        return str(self._tokenizer.apply_chat_template(turns, add_generation_prompt=True))

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes that a token stands for; b"" for one that is not in the vocabulary."""
        return self._bytes_of.get(int(token), b"")

    def name(self, token: int) -> str:
        """Return the text of a token; one that is part of a character is written as its bytes."""
        raw = self.token_bytes(token)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens; broken UTF-8 shows as replacement characters."""
        return b"".join(map(self.token_bytes, tokens)).decode("utf-8", errors="replace")

    def __len__(self) -> int:
        """Return the number of tokens that the vocabulary names."""
        return len(self._bytes_of)
