"""Scripts that put no spaces between words: Chinese, Japanese, Thai, Lao, Khmer and Burmese.

What finds words by the spaces between them takes a whole clause of such a script for a word.
"""

from __future__ import annotations

import re

UNSPACED = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"  # Han
    "\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f\U0001b000-\U0001b16f"  # Kana
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e80-\u0ecf\u0edc-\u0edf"  # Thai, Lao
    "\u1780-\u17d3\u17d7\u17dc\u17dd"  # Khmer
    "\u1000-\u103f\u104e-\u108f\u109a-\u109f\ua9e0-\ua9ef\ua9fa-\ua9fe\uaa60-\uaa7f"  # Burmese
)
"""Their letters and vowel signs, as the inside of a character class."""

_UNSPACED_LETTER = re.compile(f"(?=[^\\W\\d_])[{UNSPACED}]")
_LETTER = re.compile(r"[^\W\d_]")


def is_unspaced(text: str) -> bool:
    """Whether at least half of a text's letters are of a script without spaces between words.

    Example:
        >>> is_unspaced("什么是土壤退化？"), is_unspaced("What does 土壤 mean?")
        (True, False)
    """
    if text.isascii():
        return False
    unspaced = len(_UNSPACED_LETTER.findall(text))
    return unspaced > 0 and 2 * unspaced >= len(_LETTER.findall(text))
