"""Recipes: TOML + `--set` overrides -> the checked configuration of each stage.

A stage declares its `Config(StageConfig)` beside its code, every field with unit or meaning. A recipe is a short TOML
file with one section per stage; `load_recipe` reads it, `check_sections` and `build` turn it into those configurations.
"""

from __future__ import annotations

import json
import tomllib
from datetime import date, time
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from safekeel.errors import ConfigError, explain, nearest, shown

DEFAULT_RECIPE = "nano"
RECIPE_FILE = "recipe.toml"
RECIPES = Path(__file__).parent / "recipes"

ModelT = TypeVar("ModelT", bound=BaseModel)


class StageConfig(BaseModel):
    """Base of every stage's configuration: frozen, no unknown names, finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def recipe_names() -> list[str]:
    """The recipes that come with the package."""
    return sorted(path.parent.name for path in RECIPES.glob(f"*/{RECIPE_FILE}"))


def load_recipe(name_or_path: str | None, overrides: list[str]) -> dict[str, Any]:
    """A recipe as nested tables, overrides applied. `None` is the embedded nano recipe.

    Args:
        name_or_path: a packaged recipe's name, a `.toml` file, or a folder that holds `recipe.toml`.
        overrides: `section.key=value` in TOML syntax; a bare word is a string.

    Raises:
        ConfigError: no such recipe, malformed TOML (with file and line), or a malformed override.
    """
    recipe = _parse(find_recipe(name_or_path or DEFAULT_RECIPE))
    for override in overrides:
        _apply(recipe, override)
    return recipe


def find_recipe(name_or_path: str) -> Path:
    """The TOML file that a name, a file or a folder stands for; a packaged name wins over a folder of the same name."""
    if name_or_path in recipe_names():
        return RECIPES / name_or_path / RECIPE_FILE
    path = Path(name_or_path).expanduser()
    file = path / RECIPE_FILE if path.is_dir() else path
    if file.is_file():
        return file
    if path.is_dir():
        raise ConfigError(f"The folder {path} holds no {RECIPE_FILE}; name a folder that does, or a .toml file.")
    known = recipe_names()
    raise ConfigError(
        f"No recipe {name_or_path!r}.{nearest(name_or_path, known)} "
        f"Give a packaged one ({', '.join(known) or 'none here'}), a .toml file, or a folder that holds {RECIPE_FILE}."
    )


def check_sections(recipe: dict[str, Any], known: list[str]) -> None:
    """Every top-level name of a recipe must be a known section and a table.

    Raises:
        ConfigError: an unknown section (the nearest is offered), or a value where a section is expected.
    """
    for name, section in recipe.items():
        if name not in known:
            raise ConfigError(f"Unknown section [{name}].{nearest(name, known)} Known sections: {', '.join(known)}.")
        if not isinstance(section, dict):
            raise ConfigError(f"{name} = {shown(section)}: expected a section [{name}] or --set {name}.key=value.")


def build(model_cls: type[ModelT], section: dict[str, Any], where: str) -> ModelT:
    """Check one section against a configuration class.

    Types are strict, as TOML has them: `true` is no number and `"8"` no whole number.

    Args:
        where: the section's name, for messages.

    Raises:
        ConfigError: every unknown key (the nearest name is offered), missing value and wrong type, one per line.
    """
    try:
        # Through JSON, because pydantic's strict mode then still takes lists for tuples and strings for paths.
        return model_cls.model_validate_json(json.dumps(section, default=_as_text), strict=True)
    except ValidationError as error:
        raise ConfigError(f"The configuration is wrong:\n{explain(error, model_cls.model_fields, where)}") from error


def _as_text(value: object) -> str:
    if isinstance(value, date | time):  # TOML dates; JSON has none
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} in a recipe")


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 (byte {error.start}); save the recipe as UTF-8.") from error
    except tomllib.TOMLDecodeError as error:  # its message ends in "(at line L, column C)"
        raise ConfigError(f"{path}: malformed TOML: {error}.") from error


def _apply(recipe: dict[str, Any], override: str) -> None:
    """Set one `a.b=c` in place."""
    key, equals, text = override.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not text.strip() or not all(parts):
        raise ConfigError(f"--set {override!r}: expected section.key=value, such as --set sft.num_epochs=1.")
    table = recipe
    for depth, part in enumerate(parts[:-1], start=1):
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {override!r}: {'.'.join(parts[:depth])} is {shown(table)}, not a section.")
    table[parts[-1]] = _value(text.strip(), override)


def _value(text: str, override: str) -> Any:
    """A TOML value; what is none and does not try to be one (no quote or bracket in front) is a string."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError as error:
        if text[0] in "\"'[{":
            raise ConfigError(f"--set {override!r}: not a TOML value ({error}); check quotes and brackets.") from error
        return text
    value = parsed["value"]
    is_plain_word = len(parsed) > 1 or isinstance(value, date | time)
    return text if is_plain_word else value
