"""Judges that the user names: exact, set, regex, F1, or a Python function.

A judge gives a score from 0 to 1; those that say right or wrong give 1 or 0.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import numbers
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dln_core.config import require
from dln_core.errors import ConfigError, DLNError
from dln_core.tasks.judges.texts import normal
from dln_core.tasks.judges.wording import after_announcement, plain

Compare = Callable[[str, str], float]

# Least score of a right answer.
THRESHOLD = 0.5
# The judge that is a language model; whoever opens the model answers for it.
LLM = "llm"
_ITEM_END = re.compile(r"[,;\n]|\band\b")
_BULLET = re.compile(r"^\s*(?:\(?\d+[.)]|[-*•])\s+")
_ARTICLES = {"a", "an", "the"}


@dataclass(frozen=True, slots=True)
class OwnJudge:
    """A judge with the name that stands for it in digests.

    Attributes:
        name: The judge, and all that its verdicts depend on.
        compare: Scores a model's raw output (first) in view of the target (second).
        threshold: Least score of a right answer.
        is_foreign: Whether it is the user's own code, which may take long.
    """

    name: str
    compare: Compare
    threshold: float = THRESHOLD
    is_foreign: bool = False

    def __call__(self, prediction: str, target: str) -> float:
        """Score a prediction from 0 (wrong) to 1 (right).

        Raises:
            ConfigError: If a function of the user's fails, or returns neither a truth value nor a
                score.
        """
        try:
            score: Any = self.compare(prediction, target)
            # Truth values of numpy are no numbers of Python's.
            score = score.item() if hasattr(score, "item") else score
        except DLNError:
            raise
        except Exception as error:  # the user's code may raise anything
            raise ConfigError(
                f"the judge {self.name.partition('@')[0]} failed on the answer {prediction!r:.60} "
                f"({type(error).__name__}: {error}); it must take any text"
            ) from error
        if not isinstance(score, numbers.Real) or not 0.0 <= float(score) <= 1.0:
            raise ConfigError(
                f"the judge {self.name.partition('@')[0]} returned {score!r:.60}; it must return "
                "True or False, or a score from 0 to 1"
            )
        return float(score)

    def problem_with(self, target: str) -> str | None:
        """Tell why no answer could state the target, or None if one may."""
        if self.name == "regex":
            try:
                re.compile(target)
            except re.error as error:
                return f"{target!r:.60} is no regular expression ({error})"
        return None


def find_judge(spec: str) -> OwnJudge:
    """Return the judge that a setting names.

    Args:
        spec: ``exact``, ``set``, ``regex``, ``f1``, ``f1:THRESHOLD``, ``llm`` or
            ``module:function``.

    Raises:
        ConfigError: If there is no such judge.
    """
    if spec == LLM:
        return OwnJudge(LLM, _ask)
    if spec in _NAMED:
        return OwnJudge(spec, _NAMED[spec])
    name, _, rest = spec.partition(":")
    if name == "f1":
        return _f1(rest or str(THRESHOLD))
    require(
        bool(name and rest),
        f"task.judge={spec} is unknown; choose a kind of answer (option, label, number, words, "
        f"brackets, text), {', '.join(_NAMED)}, f1:THRESHOLD, llm or module:function",
    )
    try:
        function: Any = getattr(importlib.import_module(name), rest, None)
    except Exception as error:  # the user's module may raise anything
        raise ConfigError(
            f"task.judge={spec}: {name} cannot be imported ({type(error).__name__}: {error})"
        ) from error
    require(callable(function), f"task.judge={spec}: {name} has no function {rest}")
    return judge_of(function)


def judge_of(function: Compare) -> OwnJudge:
    """Return the judge that a Python function is, named by its place and its source."""
    name = f"{function.__module__}:{getattr(function, '__qualname__', type(function).__name__)}"
    module = inspect.getmodule(function)
    try:
        # The whole module, since the function may call others of it.
        source = inspect.getsource(module or function)
    except (OSError, TypeError):
        return OwnJudge(name, function, is_foreign=True)
    digest = hashlib.sha256(source.encode()).hexdigest()[:16]
    return OwnJudge(f"{name}@{digest}", function, is_foreign=True)


def _ask(prediction: str, target: str) -> float:
    raise ConfigError(
        "task.judge=llm asks a language model, which is not open here; train or evaluate"
    )


def _exact(prediction: str, target: str) -> bool:
    return prediction.strip() == target.strip()


def _regex(prediction: str, target: str) -> bool:
    return re.fullmatch(target, prediction.strip()) is not None


def _set(prediction: str, target: str) -> bool:
    return _items(prediction) == _items(target)


def _items(text: str) -> set[str]:
    parts = _ITEM_END.split(_answer(text))
    return {normal(_BULLET.sub("", part)) for part in parts} - {""}


def _f1(threshold: str) -> OwnJudge:
    try:
        least = float(threshold)
    except ValueError:
        least = -1.0
    require(
        0 < least <= 1,
        f"task.judge=f1:{threshold} needs a threshold above 0 and up to 1, e.g. f1:0.5",
    )
    return OwnJudge(f"f1:{least}", f1, least)


def f1(prediction: str, target: str) -> float:
    """Return the F1 of the words of the answer and of the target, from 0 to 1.

    Case, punctuation and articles do not count.  Source: Rajpurkar et al. 2016, arXiv 1606.05250.
    """
    said, wanted = _bag(prediction), _bag(target)
    common = (said & wanted).total()
    return 2 * common / (said.total() + wanted.total()) if common else 0.0


def _bag(text: str) -> Counter[str]:
    words = re.findall(r"\w+", _answer(text).lower())
    return Counter(word for word in words if word not in _ARTICLES)


def _answer(text: str) -> str:
    text = plain(text)
    return after_announcement(text) or text


_NAMED: dict[str, Compare] = {"exact": _exact, "set": _set, "regex": _regex}
