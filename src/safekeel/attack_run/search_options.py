"""Parameters of search strategies from the command line: `--search-option gcg.search_width=64`."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from safekeel.attacks.search.base import Strategy
from safekeel.errors import UsageError, nearest, shown

NOT_PARAMETERS = frozenset(name for name, member in vars(Strategy).items() if isinstance(member, property))
"""What a strategy says about itself."""


def parameters(strategy: Strategy) -> dict[str, int | float | bool]:
    """A strategy's parameters with their values, in the order of its definition."""
    named = [field.name for field in fields(strategy) if field.name not in NOT_PARAMETERS]  # type: ignore[arg-type]
    values = {name: getattr(strategy, name) for name in named}
    return {name: value for name, value in values.items() if isinstance(value, int | float)}


def with_options(strategies: Sequence[Strategy], options: Sequence[str]) -> tuple[Strategy, ...]:
    """The strategies with `STRATEGY.PARAMETER=VALUE` applied.

    Raises:
        UsageError: a strategy that is not searched with, a parameter that it has not (the nearest is offered), or a
            value that is no positive number of its kind.
    """
    found = {strategy.name: strategy for strategy in strategies}
    for option in options:
        target, equals, text = option.partition("=")
        name, _, parameter = target.strip().partition(".")
        if not equals or not parameter:
            raise UsageError(f"--search-option {shown(option)}: expected STRATEGY.PARAMETER=VALUE.")
        if name not in found:
            raise UsageError(
                f"--search-option {shown(option)}: {name!r} is not searched with; --search names "
                f"{', '.join(found) or 'nothing'}.{nearest(name, list(found))}"
            )
        known = parameters(found[name])
        if parameter not in known:
            listed = ", ".join(f"{key}={value}" for key, value in known.items()) or "none"
            raise UsageError(
                f"--search-option {shown(option)}: {name} has no parameter {parameter!r}; it has {listed}."
                f"{nearest(parameter, list(known))}"
            )
        value = _value(option, text.strip(), known[parameter])
        found[name] = replace(found[name], **{parameter: value})  # type: ignore[type-var]
    return tuple(found.values())


def _value(option: str, text: str, default: int | float | bool) -> Any:
    """
    Raises:
        UsageError: not a value of the default's type, or a number that is not above zero.
    """
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = None
    kind = type(default)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or (kind is not bool and not value > 0):
        expected = "true or false" if kind is bool else f"{'an integer' if kind is int else 'a number'} above 0"
        raise UsageError(f"--search-option {shown(option)}: expected {expected}, such as {str(default).lower()}.")
    return value
