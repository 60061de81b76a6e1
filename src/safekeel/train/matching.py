"""Whether two checkpoints are of one model, tensor by tensor, and what each calls a tied head. Needs headers only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safekeel.errors import DataError, shown
from safekeel.train.shards import FLOATS, Checkpoint

SAME = ("model_type", "num_attention_heads", "num_key_value_heads", "head_dim", "hidden_act", "rms_norm_eps")
"""What shapes do not show and both sides must agree on, where both say it."""
HEAD, EMBEDDINGS = "lm_head.weight", ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")
_CHUNK_BYTES = 1 << 20


def matched(layout: Checkpoint, other: Checkpoint) -> dict[str, str]:
    """The other model's name of every tensor of `layout`: the same, or that of the embedding a missing head is tied to.

    Raises:
        DataError: another architecture, quantised weights, or tensors on one side only or of different shapes.
    """
    _same_kind(layout, other)
    names = {name: name if name in other.tensors else _tied_to(other, name) for name in layout.tensors}
    lacking = [name for name, theirs in names.items() if theirs is None]
    more = [name for name in other.tensors if name not in layout.tensors and not _is_tied_head(name, other)]
    if lacking or more:
        told = [f"{len(x)} only in {y.folder} (such as {x[0]!r})" for x, y in ((lacking, layout), (more, other)) if x]
        raise DataError(
            f"{layout.folder} and {other.folder} do not have the same tensors: {', '.join(told)}. Expected two "
            "checkpoints of one model."
        )
    found = {name: theirs for name, theirs in names.items() if theirs is not None}
    for name, theirs in found.items():
        ours, yours = layout.tensors[name], other.tensors[theirs]
        if ours.shape != yours.shape:
            raise DataError(
                f"{name!r} has the shape {list(ours.shape)} in {layout.folder} and {list(yours.shape)} in "
                f"{other.folder}; expected the same (was the vocabulary changed? resize the embeddings of one first)."
            )
        if (ours.dtype in FLOATS) != (yours.dtype in FLOATS) or (ours.dtype not in FLOATS and not _equal(
            layout, name, other, theirs
        )):  # fmt: skip
            raise DataError(
                f"{name!r} is {ours.dtype} in {layout.folder} and {yours.dtype} in {other.folder} and differs: only "
                f"{', '.join(FLOATS)} can be averaged. Dequantise the models first."
            )
    return found


def _same_kind(layout: Checkpoint, other: Checkpoint) -> None:
    for side in (layout, other):
        if side.config.get("quantization_config"):
            raise DataError(f"{side.folder} is quantised; expected plain weights. Dequantise it first (to bfloat16).")
    pairs = [(key, layout.config.get(key), other.config.get(key)) for key in SAME]
    pairs.append(("rope_theta", _rope_theta(layout.config), _rope_theta(other.config)))
    for key, ours, theirs in pairs:
        if ours is not None and theirs is not None and ours != theirs:
            raise DataError(
                f"{key} is {shown(ours)} in {layout.folder} and {shown(theirs)} in {other.folder}; expected two "
                "checkpoints of one model."
            )


def _rope_theta(config: Mapping[str, Any]) -> Any:
    """Older configurations have it at the top, transformers 5 in `rope_parameters`."""
    nested = config.get("rope_parameters")
    return config.get("rope_theta") or (nested.get("rope_theta") if isinstance(nested, dict) else None)


def _tied_to(model: Checkpoint, name: str) -> str | None:
    """A model stored without a head reads its embedding backwards."""
    found = [each for each in model.tensors if each.endswith(EMBEDDINGS)]
    return found[0] if name == HEAD and len(found) == 1 else None


def _is_tied_head(name: str, model: Checkpoint) -> bool:
    return name == HEAD and bool(model.config.get("tie_word_embeddings")) and _tied_to(model, name) is not None


def _equal(left: Checkpoint, name: str, right: Checkpoint, theirs: str) -> bool:
    ours, yours = left.tensors[name], right.tensors[theirs]
    if ours.dtype != yours.dtype:
        return False
    buffers = bytearray(min(_CHUNK_BYTES, ours.num_bytes)), bytearray(min(_CHUNK_BYTES, ours.num_bytes))
    for first in range(0, ours.num_bytes, _CHUNK_BYTES):
        views = [memoryview(buffer)[: ours.num_bytes - first] for buffer in buffers]
        left.read(name, first, views[0])
        right.read(theirs, first, views[1])
        if views[0] != views[1]:
            return False
    return True
