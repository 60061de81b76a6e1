"""The weights of the `linear` judge: heads that each answer one yes/no question, by language, and their JSON file."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from safekeel.errors import DataError
from safekeel.files import atomic_write_text, digest
from safekeel.judges.linear_features import Features, Hashed
from safekeel.records import JsonObject, Lang

HeadName = Literal["refused", "responsible", "harmful", "harmful_given_prompt", "thought_harmful", "thought_aware"]
"""`responsible` is asked of refusals, `harmful` of other answers, `thought_aware` of thoughts that are not harmful.
`harmful_given_prompt` reads the prompt as well."""
FORMAT = 1
STEPS = 127  # weights are whole multiples of scale, from -STEPS to STEPS


@dataclass(frozen=True)
class Head:
    """One question: a weight per bucket, a bias, and how sure is sure enough.

    The probability of yes is the logistic function of `slope * score + offset` (Platt 1999), fitted like the two
    bounds on out-of-fold scores.
    """

    steps: npt.NDArray[np.int8]
    """Weights as multiples of `scale`; shape (2 ** bits,)."""
    scale: float
    bias: float
    slope: float = 1.0
    offset: float = 0.0
    yes_from: float | None = None
    """Yes is said from this probability on; None = never."""
    no_to: float | None = None
    """No is said up to this probability; None = never."""

    @classmethod
    def quantised(cls, weights: npt.NDArray[np.float64], bias: float) -> Head:
        """Weights as one byte each."""
        scale = float(np.abs(weights).max()) / STEPS or 1.0
        return cls(np.rint(weights / scale).astype(np.int8), scale, float(bias))

    def score(self, text: Hashed) -> float:
        """The linear score of a text."""
        return float(self.steps[text.buckets] @ text.values) * self.scale + self.bias

    def scores(self, matrix: Any) -> npt.NDArray[np.float64]:
        """The scores of many texts, the rows of a sparse matrix (`linear_solver.matrix_of`)."""
        found: npt.NDArray[np.float64] = matrix @ (self.steps.astype(np.float64) * self.scale) + self.bias
        return found

    def probability(self, text: Hashed) -> float:
        """Probability of yes."""
        return logistic(self.slope * self.score(text) + self.offset)

    def says(self, probability: float) -> bool | None:
        """Yes, no, or None where that is not sure enough."""
        if self.yes_from is not None and probability >= self.yes_from:
            return True
        return False if self.no_to is not None and probability <= self.no_to else None

    @property
    def needs(self) -> str:
        """The bounds in words."""
        yes = "never yes" if self.yes_from is None else f"{self.yes_from:.2f} for yes"
        return f"{yes}, {'never no' if self.no_to is None else f'{self.no_to:.2f} for no'}"

    def to_json(self) -> JsonObject:
        """For the model's file: weights are zlib-compressed bytes in base64."""
        packed = base64.b64encode(zlib.compress(self.steps.tobytes(), 9)).decode("ascii")
        return self.numbers() | {"steps": packed}

    def numbers(self) -> JsonObject:
        """All but the weights."""
        return {name: getattr(self, name) for name in _NUMBERS}

    def steps_sha256(self) -> str:
        """Hash of the weights, which does not depend on how a version of zlib packs them."""
        return hashlib.sha256(self.steps.tobytes()).hexdigest()

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Head:
        """Read what `to_json` wrote; KeyError, TypeError, ValueError or zlib.error where it did not."""
        steps = np.frombuffer(zlib.decompress(base64.b64decode(given["steps"], validate=True)), dtype=np.int8)
        return cls(steps, **{name: given[name] for name in _NUMBERS})


_NUMBERS = ("scale", "bias", "slope", "offset", "yes_from", "no_to")


def logistic(score: float) -> float:
    """1 / (1 + exp(-score)) without overflow."""
    return 1 / (1 + math.exp(-score)) if score >= 0 else 1 - 1 / (1 + math.exp(score))


@dataclass(frozen=True)
class LinearModel:
    """Heads by language, and how texts become what they read."""

    features: Features
    heads: Mapping[Lang, Mapping[HeadName, Head]]
    made: JsonObject
    """What it was trained on (files, hashes, licences) and out-of-fold figures; not part of the version."""

    @cached_property
    def version(self) -> str:
        """Hash of what decides a label: format, features, and every head's numbers and weights."""
        heads = {
            lang: {name: head.numbers() | {"steps": head.steps_sha256()} for name, head in named.items()}
            for lang, named in self.heads.items()
        }
        return digest({"format": FORMAT, "features": self.features._asdict(), "heads": heads})[:16]

    def write(self, path: Path) -> None:
        """Write the model's file; the folder must exist."""
        heads = {lang: {name: head.to_json() for name, head in named.items()} for lang, named in self.heads.items()}
        body = {"format": FORMAT, "version": self.version, "made": self.made}
        body |= {"features": self.features._asdict(), "heads": heads}
        atomic_write_text(path, json.dumps(body, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def packaged_model() -> Path:
    """Where the model that ships with SafeKeel lies."""
    return Path(str(resources.files("safekeel.judges"))) / "linear_model.json"


def read_model(path: Path | None = None) -> LinearModel:
    """A model from a file; None = the one that ships with SafeKeel.

    Raises:
        DataError: no such file, not a model, or its version is not the hash of its content.
    """
    path = path or packaged_model()
    again = "Fit it again (`python -m safekeel.judges.linear_fit`), or reinstall safekeel."
    try:
        given = json.loads(path.read_text("utf-8"))
        heads: dict[Any, dict[Any, Head]] = {
            lang: {name: Head.from_json(head) for name, head in named.items()} for lang, named in given["heads"].items()
        }
        features = Features.from_json(given["features"])
        model = LinearModel(features, heads, given["made"])
        version, form = given["version"], given["format"]
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist, expected a linear model. {again}") from error
    except (KeyError, TypeError, ValueError, AttributeError, zlib.error) as error:
        raise DataError(f"{path} is no linear model ({type(error).__name__}: {error}). {again}") from error
    sizes = {len(head.steps) for named in heads.values() for head in named.values()}
    if form != FORMAT or sizes - {1 << features.bits}:
        raise DataError(f"{path} has format {form} and heads of {sizes} weights, expected format {FORMAT}. {again}")
    if version != model.version:
        raise DataError(f"{path} says version {version}, and its content is {model.version}: it was changed. {again}")
    return model
