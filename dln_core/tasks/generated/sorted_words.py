"""Words to be put in alphabetical order.  In the spirit of BBH's word_sorting."""

from __future__ import annotations

from collections.abc import Iterable

from dln_core.tasks.generated.dice import Dice
from dln_core.tasks.generated.items import Item, Level


def solve(words: Iterable[str]) -> list[str]:
    """Return the words, all in small letters from a to z, in alphabetical order."""
    return sorted(words)


# Verbs whose forms only add letters, so that a word is often the beginning of another.
_STEMS = (
    "add bark bend boil camp chain charm chart cheer clean climb coach collect comb compost "
    "cook count cover crown dash doubt draw drown dust earn enter farm feast film flood float "
    "fold frown garden glow grill grind harvest haunt heat hoist hunt iron join jump kick kneel "
    "knock land launch lead lift light load look march melt mend mint mount nail open order "
    "paint park perform plant plough point poison pour press print push rain reach record rent "
    "rest roar roll row sail scout search seat shelter shift shock shout show sign sketch sleep "
    "smell snarl sort sound spell sprint start steer storm stretch swallow teach thaw toast "
    "touch trail train travel tutor twist view visit wait walk wander warm wash watch water "
    "weld whisper wish work wreck yawn yell"
)
_ENDINGS = ("", "er", "ers", "ing", "ings")
_PROMPTS = (
    "{}",
    "Bring into alphabetical order: {}",
    "A librarian files these words from A to Z: {}",
    "Index entries, still unordered: {}",
)
# Words, and how many of them share the beginning of another.
_SHAPES = {Level.easy: (4, 0), Level.medium: (9, 4), Level.hard: (18, 12)}


def draw(dice: Dice, level: Level) -> Item:
    """Make a list of different words; hard lists have many with the same beginning."""
    num_words, num_alike = _SHAPES[level]
    stems = dice.sample(_STEMS.split(), num_words - num_alike)
    words = [stem + dice.pick(_ENDINGS) for stem in stems]
    rest = [stem + ending for stem in stems for ending in _ENDINGS if stem + ending not in words]
    words = dice.shuffled(words + dice.sample(rest, num_alike))
    separator = dice.pick((" ", ", "))
    return Item(
        text=dice.pick(_PROMPTS).format(separator.join(words)),
        target=" ".join(solve(words)),
        source=" ".join(solve(words)),
    )
