"""Engines turn prompts into completions. `open_engine` picks one by the scheme of a MODEL argument; each is imported
only then, so that a scripted or a remote model needs no torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from safekeel.engines.base import Engine
from safekeel.errors import EngineError, UsageError, nearest
from safekeel.registry import Registry

ENGINES: Registry[Callable[..., Engine]] = Registry("engine", "safekeel.engines")


def open_engine(spec: str, **options: Any) -> Engine:
    """The engine for `SCHEME:LOCATION`, such as `hf:out/nano/00-base/model` or `scripted:replies.jsonl`.

    Args:
        options: of the engine, such as `batch_size` of `hf`.

    Raises:
        UsageError: malformed, or an unknown scheme (the nearest is offered).
        EngineError, DataError: the model or the file cannot be used.
    """
    scheme, colon, location = spec.partition(":")
    if not (colon and location):
        raise UsageError(f"MODEL {spec!r}: expected SCHEME:LOCATION, such as hf:PATH_OR_ID or scripted:FILE.")
    known = ENGINES.names()
    if scheme not in known:
        hint = nearest(scheme, known)
        raise UsageError(f"MODEL {spec!r}: unknown scheme {scheme!r}.{hint} Known: {', '.join(known)}.")
    return ENGINES.get(scheme)(location, **options)


def model_folder(spec: str) -> Path | None:
    """The local file or folder that decides what a model says, where there is one: it is an input of an evaluation.

    Raises:
        EngineError: a hub id that is not on this machine and cannot be downloaded.
    """
    scheme, _, name = spec.partition(":")
    location = Path(name).expanduser()
    if location.exists():
        return location
    if scheme in ("hf", "vllm"):  # a hub id: the folder of the revision that would be loaded now
        from safekeel.engines.local import find_model

        return find_model(scheme, name)
    return None


def _open_api(location: str, **options: Any) -> Engine:
    from safekeel.engines.api import ApiEngine

    if "base_urls" not in options:
        raise UsageError(f"api:{location} needs its server: --base-url URL, such as http://127.0.0.1:8000/v1.")
    return ApiEngine(location, **options)


def _open_hf(location: str, **options: Any) -> Engine:
    try:
        from safekeel.engines.hf import HfEngine
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("safekeel"):
            raise
        raise EngineError(
            f"hf:{location} needs {error.name}, which is not installed: pip install 'safekeel[train]'."
        ) from error
    return HfEngine(location, **options)


def _open_scripted(location: str) -> Engine:
    from safekeel.engines.scripted import ScriptedEngine

    return ScriptedEngine(location)


def _open_vllm(location: str, **options: Any) -> Engine:
    from safekeel.engines.vllm import VllmEngine

    return VllmEngine(location, **options)


ENGINES.add("api", _open_api)
ENGINES.add("hf", _open_hf)
ENGINES.add("scripted", _open_scripted)
ENGINES.add("vllm", _open_vllm)
