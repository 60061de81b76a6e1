"""Simplified and traditional Chinese, by OpenCC, which is an optional package."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from safekeel.errors import UsageError


@cache
def converter(direction: str, needed_for: str, extra: str) -> Callable[[str], str]:
    """OpenCC's conversion, such as `t2s`. It reads phrases too (乾隆 stays 乾隆), 2 µs a prompt.

    Args:
        needed_for: who asks, as the subject of the error.
        extra: SafeKeel's extra that installs OpenCC.

    Raises:
        UsageError: OpenCC is not installed.
    """
    try:
        from opencc import OpenCC
    except ImportError as error:
        raise UsageError(
            f"{needed_for} needs OpenCC (simplified and traditional characters), which is not installed. Install it "
            f"with: pip install 'safekeel[{extra}]'"
        ) from error
    convert: Callable[[str], str] = OpenCC(direction).convert
    return convert
