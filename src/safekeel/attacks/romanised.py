"""How Chinese sounds, by pypinyin (MIT, extra `attacks`): shared by the families that write sounds for characters.

Readings are chosen by pypinyin's phrase dictionary, so 重庆 is chong qing and 重量 zhong liang.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from safekeel.attacks.coding import spaced
from safekeel.errors import UsageError


@cache
def pypinyin() -> Any:
    """The module.

    Raises:
        UsageError: pypinyin is not installed.
    """
    try:
        import pypinyin as module
    except ImportError as error:
        raise UsageError(
            "The attacks pinyin, toned_pinyin, pinyin_initials and homophones need pypinyin, which is not installed. "
            "Install it with: pip install 'safekeel[attacks]'"
        ) from error
    return module


def syllables(text: str, style: str) -> str:
    """The text with Chinese characters as syllables, a space between words; everything else as it is.

    Args:
        style: name of a member of `pypinyin.Style`, such as `NORMAL`, `TONE` or `FIRST_LETTER`.
    """
    module = pypinyin()
    return spaced(part for (part,) in module.pinyin(text, style=module.Style[style]))
