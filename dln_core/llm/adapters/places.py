"""Where tokens stand in their text, though each of them is shown by itself.

What is shown of a token may differ from its part of the text.  A character of several tokens is
shown as replacement characters, or by the last of them alone; the white space before a word by a
sign of the vocabulary, or not at all.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# White space, and what stands for it in vocabularies.
_SPACES = re.compile("[\\s\N{LOWER ONE EIGHTH BLOCK}ĠĊ]")


def plain_borders(text: str, tokens: Sequence[str]) -> list[int] | None:
    """Where in a text each token begins, and the last one ends, where all show as what they are.

    It is ``token_spans`` for nearly all texts, at a tenth of the time.

    Args:
        text: The text.
        tokens: What is shown of its tokens; there may be others before and behind the text's.

    Returns:
        One number more than tokens, ascending; those of other tokens lie outside of the text.  None
        if the tokens do not show the text, or one of them shows nothing.
    """
    begin = "".join(tokens).find(text)
    if begin < 0 or "" in tokens:
        return None
    return list(itertools.accumulate(map(len, tokens), initial=-begin))


def token_spans(text: str, tokens: Sequence[str]) -> list[tuple[int, int]] | None:
    """Where in a text each token begins and ends.

    A token that shows nothing ends with the next one that shows something.

    Args:
        text: The text.
        tokens: What is shown of its tokens; there may be others before and behind the text's, if
            these are shown as they are, else one of each.

    Returns:
        The spans, those of other tokens outside of the text; None if the tokens do not show it.
    """
    ends = list(itertools.accumulate(map(len, tokens), initial=0))
    shown = "".join(tokens)
    begin = shown.find(text)
    if begin >= 0:
        return _spans([end - begin for end in ends])
    letters = [place for place, sign in enumerate(text) if not _SPACES.match(sign)]
    # White space belongs to the token behind it.
    borders = [0, *(place + 1 for place in letters[:-1]), len(text)]
    for first, last in itertools.product((0, 1), (1, 0)):
        inner = range(first, len(tokens) - last)
        places = _places(_SPACES.sub("", text), [_SPACES.sub("", tokens[i]) for i in inner])
        if places is not None:
            inside = [borders[place] for place in places]
            return _spans([*[-1] * first, *inside, *[len(text) + 1] * last])
    return None


def is_shown_as(text: str, shown: str) -> bool:
    """Whether tokens that are shown like this may make up a text, with no more than a space before.

    Args:
        text: The text.
        shown: What is shown of the tokens, joined.
    """
    shown = shown.removeprefix(" ")
    if shown == text:
        return True
    is_bare = shown == shown.strip()
    return is_bare and _places(_SPACES.sub("", text), [_SPACES.sub("", shown)]) is not None


def _spans(borders: Sequence[int]) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for begin, end in reversed(list(itertools.pairwise(borders))):
        spans.append((begin, spans[-1][1] if begin == end and spans else end))
    return spans[::-1]


def _places(text: str, tokens: Sequence[str]) -> list[int] | None:
    """Where in a text without spaces each token begins and the last one ends."""
    *pieces, last = re.split(f"({REPLACEMENT}+)", "".join(tokens))
    places: list[int] = []
    begin = num_replaced = 0
    for piece in pieces:
        if piece.startswith(REPLACEMENT):
            # Which of the characters a replacement stands for is not told.
            places += [begin] * len(piece)
            num_replaced = len(piece)
            continue
        begin = text.find(piece, begin + (num_replaced > 0), begin + num_replaced + len(piece))
        if begin < 0:
            return None
        places += range(begin, begin + len(piece))
        begin += len(piece)
    rest = len(text) - len(last) - begin
    if not text.endswith(last) or not (num_replaced > 0) <= rest <= num_replaced:
        return None
    places += range(len(text) - len(last), len(text) + 1)
    return [places[end] for end in itertools.accumulate(map(len, tokens), initial=0)]
