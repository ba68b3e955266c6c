"""Adjectives: the order of the classes against BBH's hyperbaton."""

from __future__ import annotations

from itertools import permutations

import pytest

from dln_core.tasks.generated.adjectives import ADJECTIVES, Rank, draw, solve
from dln_core.tasks.generated.dice import Dice
from dln_core.tasks.generated.items import Level
from tests.core.tasks.bbh_items import bbh_items, options_of

WORDS_OF_BBH = {
    Rank.opinion: "awful good lovely mysterious nice obnoxious repulsive ridiculous silly terrible "
    "wonderful",
    Rank.size: "big enormous huge large little massive medium-size midsize normal-size small tiny",
    Rank.age: "ancient archaic brand-new new old old-fashioned",
    Rank.shape: "circular prismlike pyramidal rectangular spherical square triangular",
    Rank.colour: "black blue brown gray green grey orange pink purple red tan white yellow",
    Rank.origin: "American Bangladeshi Brazilian Chinese Congolese Egyptian Ethiopian Filipino "
    "German Indian Indonesian Iranian Japanese Mexican Nigerian Pakistani Russian Thai Turkish "
    "Vietnamese",
    Rank.material: "cardboard cloth fiberglass glass gold iron lead leather paper plastic rubber "
    "silver steel wood wool",
    Rank.purpose: "drinking driving eating exercise hiking smoking snorkeling typing walking "
    "whittling",
}
RANKS_OF_BBH = {word: rank for rank, words in WORDS_OF_BBH.items() for word in words.split()}
OWN_RANKS = {word: rank for rank, words in ADJECTIVES.items() for word in words.split()}


def test_the_solver_agrees_with_every_gold_answer(data_dir):
    for text, gold in bbh_items(data_dir, "hyperbaton"):
        options = options_of(text)
        phrases = [[RANKS_OF_BBH[word] for word in o.split()[:-1]] for o in options.values()]
        (usual,) = solve(phrases)
        assert list(options)[usual] == gold, text


def test_of_all_orders_one_is_usual():
    ranks = [Rank.size, Rank.colour, Rank.material, Rank.purpose]
    orders = list(permutations(ranks))
    assert [orders[index] for index in solve(orders)] == [tuple(ranks)]


@pytest.mark.parametrize("level", Level)
def test_one_printed_phrase_is_in_the_usual_order_and_all_have_the_same_words(level):
    dice = Dice(1, "text")
    for _ in range(200):
        item = draw(dice, level)
        phrases = [phrase.split() for phrase in (*item.wrong, item.target)]
        usual = solve([[OWN_RANKS[word] for word in words[1:-1]] for words in phrases])
        assert usual == [len(item.wrong)]
        assert len({tuple(sorted(words)) for words in phrases}) == 1


def test_no_adjective_is_of_two_classes():
    words = [word for words in ADJECTIVES.values() for word in words.split()]
    assert len(set(words)) == len(words)
    assert all(RANKS_OF_BBH.get(word, rank) == rank for word, rank in OWN_RANKS.items())
