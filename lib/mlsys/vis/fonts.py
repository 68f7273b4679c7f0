"""Fonts for characters that the font of a plot lacks: Chinese, Arabic, emoji.

Matplotlib draws each character with the first of a text's font families that has it. If none has
it, an installed font that does is added, and after it matplotlib's own Last Resort, which draws a
box for every character.
"""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.text import Text

LAST_RESORT = "Last Resort High-Efficiency"
# Families with many scripts are searched first, at most MAX_SEARCHED families in all.
_WIDE = ("CJK", "Noto Sans", "Arial Unicode", "Unifont", "Gothic", "Hei", "Droid", "WenQuanYi")
MAX_SEARCHED = 300
MAX_NAMED = 5  # characters, in the warning


def cover(texts: Sequence[Text], *, stacklevel: int) -> None:
    """Find a font for every character of the texts, and warn once of the characters without one.

    The fonts also apply to text that is set in these texts later.
    """
    missing = {char for text in texts for char in _missing(text)}
    if not missing:
        return
    families, boxes = _fonts_for(frozenset(missing), _installed())
    for text in texts:
        own = [name for name in text.get_fontfamily() if name not in (*families, LAST_RESORT)]
        text.set_fontfamily([*own, *families, LAST_RESORT])
    if boxes:
        named = ", ".join(char if char.isprintable() else ascii(char) for char in boxes[:MAX_NAMED])
        more = f" and {len(boxes) - MAX_NAMED} more" if len(boxes) > MAX_NAMED else ""
        warnings.warn(
            f"No installed font has {named}{more}, so boxes are drawn. Install a font that has "
            "them (such as Noto Sans CJK) and pass its file to "
            "matplotlib.font_manager.fontManager.addfont, or pass other labels",
            stacklevel=stacklevel + 1,
        )


def _missing(text: Text) -> set[str]:
    """Return the characters of a text, except line breaks, that none of its font families has."""
    chars = set(text.get_text()) - {"\n"}
    for family in text.get_fontfamily():
        properties = text.get_fontproperties().copy()
        properties.set_family(family)
        chars = {char for char in chars if ord(char) not in _characters(properties)}
    return chars


def _installed() -> tuple[str, ...]:
    from matplotlib.font_manager import fontManager

    names = {entry.name for entry in fontManager.ttflist} - {LAST_RESORT}
    return tuple(sorted(names, key=lambda name: (not any(w in name for w in _WIDE), name)))


@functools.lru_cache(maxsize=64)
def _fonts_for(missing: frozenset[str], families: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Return families that have the characters, and the characters that none of them has."""
    from matplotlib.font_manager import FontProperties

    left, chosen = set(missing), []
    for name in families[:MAX_SEARCHED]:
        if not left:
            break
        have = {char for char in left if ord(char) in _characters(FontProperties(family=[name]))}
        if have:
            chosen.append(name)
            left -= have
    return chosen, sorted(left)


def _characters(properties: Any) -> frozenset[int]:
    """Return the code points that the font has; none if the font cannot be read."""
    from matplotlib.font_manager import findfont

    logger = logging.getLogger("matplotlib.font_manager")  # it logs replaced font weights
    before, logger.disabled = logger.disabled, True
    try:
        return _characters_of(findfont(properties))
    except (OSError, RuntimeError, ValueError):
        return frozenset()
    finally:
        logger.disabled = before


@functools.lru_cache(maxsize=64)
def _characters_of(path: Any) -> frozenset[int]:
    from matplotlib.font_manager import get_font

    return frozenset(get_font(path).get_charmap())
