"""Whether a prompt is about programming or mathematics, by what is typical of such prompts. Heuristics.

Checkers that run code or compare numbers reward these better than any comparison of instructions does.
"""

from __future__ import annotations

import re

_LANGUAGES = (
    "python javascript typescript java golang kotlin php sql html css powershell regex vba matlab django pytorch "
    "tensorflow dockerfile kubernetes arduino solidity leetcode react.js reactjs node.js nodejs"
)
# These are names of animals, metals and vessels too: they count in front of a word of the trade only.
_AMBIGUOUS = "bash flask latex pandas react ruby rust scala shell swift"
_TRADE = "app class code command component dataframe function program project script"


def _any_of(words: str) -> str:
    return "(?:" + "|".join(map(re.escape, words.split())) + ")"


# No pattern may try again for each of many blanks or line breaks: prompts hold thousands of them at times.
_CODE = (
    r"```",
    r"^[ \t]*def \w+\(",
    r"^[ \t]*class [A-Z]\w*(?:\(.*\))?:[ \t]*$",
    r"^[ \t]*import [\w.]+(?: as \w+)?;?[ \t]*$",
    r"^[ \t]*from [\w.]+ import ",
    r"^[ \t]*#include[ \t]*[<\"]",
    r"\bSELECT\b.+\bFROM\b",
    r"[;{}][ \t]*\n.*[;{}][ \t]*$",
    r"</\w+>\s*<\w",
    r"\w\(\)\s*[;{]",
    rf"(?i:\b{_any_of(_LANGUAGES)}\b)",
    r"(?i:\bc(?:\+\+|#))",
    rf"(?i:\b{_any_of(_AMBIGUOUS)} {_any_of(_TRADE)}s?\b)",
    r"(?i:\b(?:source code|code snippet|stack trace|unit tests?)\b)",
    r"(?i:\b(?:write|create|make|give)(?: me)?(?: an?| some| the)? (?:code|function)\b(?! of))",
    r"(?i:\b(?:write|create|make)(?: me)? an? (?:\w+ )?(?:program|script) (?:that|to|which)\b)",
    r"(?i:\b(?:debug|explain|fix|refactor) (?:my|this|the(?: following)?) (?:code|function|program|script)\b)",
)
_MATH = (
    r"\\(?:alpha|begin|cdot|frac|geq|int|leq|mathbb|sqrt|sum|theta)\b",
    r"\$[^$\n]{0,80}[\\^_=][^$\n]{0,80}\$",
    r"\d\s*[+*×÷^=]\s*-?\d",
    r"[a-z]\s*\^\s*\d",
    r"\b\d*[xyz]\s*[-+=]\s*\d",
    r"(?i:\b(?:solve for|prove that|proof of|differentiate|integrate|(?:derivative|integral|square root) of)\b)",
    r"(?i:\b(?:eigenvalues?|lemma|logarithm|polynomials?|quadratic|theorem|trigonometr\w+)\b)",
    r"(?i:\b(?:standard deviation|probability (?:of|that)|least common multiple|greatest common)\b)",
    r"(?i:\b(?:(?:calculate|compute|simplify) the|how many ways)\b)",
)
_ABOUT_CODE = re.compile("|".join(_CODE), re.MULTILINE)
_ABOUT_MATH = re.compile("|".join(_MATH))


def has_code(text: str) -> bool:
    """Whether a prompt holds code or asks for some.

    Example:
        >>> has_code("Why does my Java class not compile?"), has_code("Draft a code of conduct for a chess club.")
        (True, False)
    """
    return bool(_ABOUT_CODE.search(text))


def has_math(text: str) -> bool:
    """Whether a prompt is a calculation or a proof.

    Example:
        >>> has_math("Prove that 2 + 2 = 4."), has_math("My blood pressure was 134/86 on 24 May.")
        (True, False)
    """
    return bool(_ABOUT_MATH.search(text))
