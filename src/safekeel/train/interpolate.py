"""Weights between and beyond models, block by block: memory is a few blocks, whatever the size of the model.

    Line    (1 - alpha) * base + alpha * tuned      WiSE-FT (Wortsman et al. 2022); that averaging with the base keeps
                                                    more ability than replay, LoRA or KL: arXiv 2309.06256
    Steps   start + sum of weight * change          a LoRA adapter scaled by alpha; task arithmetic, where a change is
                                                    safe - unsafe (Ilharco et al. 2023; RESTA, arXiv 2402.11746)

Computed in float32 (float64 where a model is), stored in the layout's own type, rounded once. Where nothing is to be
computed (alpha 0 or 1, a weight of 0, a tensor without change) the bytes are copied.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Protocol

import torch

from safekeel.errors import DataError, UsageError
from safekeel.train.matching import matched
from safekeel.train.shards import FLOATS, Checkpoint

BLOCK = 1 << 18
"""Numbers at a time: 1 MiB in float32. Of two bfloat16 models, GB of result per CPU second (EPYC, 1 MiB of L2 a core):
1.5 at 2^16, 2.0 at 2^18, 2.0 at 2^20, 1.3 at 2^22."""
_COPIED = 1 << 20  # bytes at a time where nothing is computed; 4 MiB, more than a core's L2, took 2.5 times as long
TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


class Mix(Protocol):
    """What each tensor of a new model is. Names, order, shards and types are those of `layout`."""

    layout: Checkpoint

    def verbatim(self, name: str) -> tuple[Checkpoint, str] | None:
        """The stored tensor that this one is a copy of, or None where it is computed."""
        ...

    def block(self, name: str, first: int, count: int, scratch: Scratch) -> torch.Tensor:
        """`count` numbers of the tensor from number `first` on, in float32 (or float64)."""
        ...

    def checkpoints(self) -> list[Checkpoint]:
        """Everything that is read, to be closed in the end."""
        ...


class Scratch:
    """Buffers that are used again for every block: one of bytes and one of numbers per place."""

    def __init__(self) -> None:
        self._raw: dict[int, bytearray] = {}
        self._numbers: dict[tuple[int, torch.dtype], torch.Tensor] = {}

    def load(
        self, place: int, source: Checkpoint, name: str, first: int, count: int, work: torch.dtype
    ) -> torch.Tensor:
        """Numbers of a stored tensor in the type they are computed in; valid until the place is used again."""
        kind = TYPES[source.tensors[name].dtype]
        raw = self.raw(place, count * kind.itemsize)
        source.read(name, first * kind.itemsize, raw)
        stored = torch.frombuffer(raw, dtype=kind, count=count)
        return stored if kind == work else self.numbers(place, count, work).copy_(stored)

    def raw(self, place: int, num_bytes: int) -> memoryview:
        if len(self._raw.get(place, b"")) < num_bytes:
            self._raw[place] = bytearray(num_bytes)
        return memoryview(self._raw[place])[:num_bytes]

    def numbers(self, place: int, count: int, kind: torch.dtype) -> torch.Tensor:
        if (place, kind) not in self._numbers or len(self._numbers[place, kind]) < count:
            self._numbers[place, kind] = torch.empty(count, dtype=kind)
        return self._numbers[place, kind][:count]


class Line:
    """`(1 - alpha) * base + alpha * tuned`; exactly the base's or the tuned model's bytes at the ends."""

    def __init__(self, base: Checkpoint, tuned: Checkpoint, alpha: float) -> None:
        """
        Raises:
            UsageError: alpha outside [0, 1].
            DataError: the two are not the same architecture.
        """
        self.base, self.layout, self.alpha = base, tuned, check_alpha(alpha)
        self._names = matched(tuned, base)

    def verbatim(self, name: str) -> tuple[Checkpoint, str] | None:
        """See `Mix.verbatim`. At alpha 0 a base tensor of another type is converted, not copied."""
        theirs = self._names[name]
        if self.alpha == 1 or self.layout.tensors[name].dtype not in FLOATS:
            return self.layout, name
        is_same_type = self.base.tensors[theirs].dtype == self.layout.tensors[name].dtype
        return (self.base, theirs) if self.alpha == 0 and is_same_type else None

    def block(self, name: str, first: int, count: int, scratch: Scratch) -> torch.Tensor:
        """See `Mix.block`. `torch.lerp` gives the end itself where both ends are equal."""
        theirs = self._names[name]
        work = _work(self.base.tensors[theirs].dtype, self.layout.tensors[name].dtype)
        base = scratch.load(0, self.base, theirs, first, count, work)
        if self.alpha == 0:
            return base
        tuned = scratch.load(1, self.layout, name, first, count, work)
        return torch.lerp(base, tuned, self.alpha, out=base)

    def checkpoints(self) -> list[Checkpoint]:
        return [self.base, self.layout]


class Change(Protocol):
    """Something to add to a model's weights."""

    def names(self) -> set[str]:
        """Tensors of the model that change."""
        ...

    def block(self, name: str, first: int, count: int, scratch: Scratch, work: torch.dtype) -> torch.Tensor:
        """The change of these numbers."""
        ...

    def checkpoints(self) -> list[Checkpoint]: ...


class Difference:
    """`plus - minus`, of two models of the layout's architecture."""

    def __init__(self, layout: Checkpoint, plus: Checkpoint, minus: Checkpoint) -> None:
        """
        Raises:
            DataError: one of them is another architecture.
        """
        self.plus, self.minus = plus, minus
        self._plus, self._minus = matched(layout, plus), matched(layout, minus)

    def names(self) -> set[str]:
        return {name for name in self._plus if self.plus.tensors[self._plus[name]].dtype in FLOATS}

    def block(self, name: str, first: int, count: int, scratch: Scratch, work: torch.dtype) -> torch.Tensor:
        plus = scratch.load(1, self.plus, self._plus[name], first, count, work)
        minus = scratch.load(2, self.minus, self._minus[name], first, count, work)
        return torch.sub(plus, minus, out=plus)

    def checkpoints(self) -> list[Checkpoint]:
        return [self.plus, self.minus]


class Steps:
    """`start + sum of weight * change`; a tensor that no change with a weight touches keeps its bytes."""

    def __init__(self, start: Checkpoint, changes: Sequence[tuple[float, Change]]) -> None:
        """
        Raises:
            UsageError: a weight that is no finite number.
        """
        self.layout = start
        for weight, _ in changes:
            if not math.isfinite(weight):
                raise UsageError(f"a weight of {weight} was given, expected a finite number.")
        self._changes = [(weight, change, change.names()) for weight, change in changes if weight]

    def verbatim(self, name: str) -> tuple[Checkpoint, str] | None:
        is_changed = any(name in names for _, _, names in self._changes)
        return None if is_changed and self.layout.tensors[name].dtype in FLOATS else (self.layout, name)

    def block(self, name: str, first: int, count: int, scratch: Scratch) -> torch.Tensor:
        """See `Mix.block`."""
        work = _work(self.layout.tensors[name].dtype)
        total = scratch.load(0, self.layout, name, first, count, work)
        for weight, change, names in self._changes:
            if name in names:
                total.add_(change.block(name, first, count, scratch, work), alpha=weight)
        return total

    def checkpoints(self) -> list[Checkpoint]:
        return [self.layout, *(found for _, change, _ in self._changes for found in change.checkpoints())]


def blocks_of(mix: Mix, name: str, kept: str, scratch: Scratch) -> Iterator[memoryview]:
    """The bytes of one tensor of the new model, block after block; each is valid until the next.

    Args:
        kept: the safetensors type to store it as; one of `FLOATS` where the layout has a float.

    Raises:
        DataError: a result that is no number, or too large for its type.
    """
    info = mix.layout.tensors[name]
    source = mix.verbatim(name)
    if source is not None and source[0].tensors[source[1]].dtype == kept:
        for first in range(0, info.num_bytes, _COPIED):
            raw = scratch.raw(0, min(_COPIED, info.num_bytes - first))
            source[0].read(source[1], first, raw)
            yield raw
        return
    columns = info.shape[-1] if len(info.shape) == 2 else 1
    step = max(1, BLOCK // max(1, columns)) * max(1, columns)
    for first in range(0, info.num_elements, step):
        count = min(step, info.num_elements - first)
        if source is not None:
            result = scratch.load(0, *source, first, count, _work(info.dtype))
        else:
            result = mix.block(name, first, count, scratch)
        _check_range(mix, name, result, TYPES[kept])
        if result.dtype != TYPES[kept]:
            result = scratch.numbers(3, count, TYPES[kept]).copy_(result)
        yield result.view(torch.uint8).numpy().data


def check_alpha(alpha: float) -> float:
    """Raise a UsageError unless alpha is in [0, 1]."""
    if not 0 <= alpha <= 1:
        raise UsageError(f"alpha {alpha}: expected a number from 0 (the base) to 1 (the tuned model).")
    return alpha


def _work(*dtypes: str) -> torch.dtype:
    return torch.float64 if "F64" in dtypes else torch.float32


def _check_range(mix: Mix, name: str, result: torch.Tensor, kind: torch.dtype) -> None:
    """One pass over the block; a NaN anywhere makes both ends NaN."""
    if not result.numel():
        return
    low, high = (float(end) for end in torch.aminmax(result))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise DataError(f"{name!r} would hold NaN or infinity: one of the models merged into {mix.layout.folder} does.")
    if max(-low, high) > torch.finfo(kind).max:
        raise DataError(f"{name!r} would hold {max(-low, high):.3g}, too large for {kind}; store it as bfloat16.")
