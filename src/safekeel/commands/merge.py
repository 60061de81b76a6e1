"""`safekeel merge`: between base and tuned model, a LoRA adapter at any strength, task vectors. `cli.py` mounts it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safekeel.commands.common import Out, say
from safekeel.errors import EngineError, UsageError, shown

if TYPE_CHECKING:
    from safekeel.train.merge import Delta

Base = Annotated[str | None, typer.Option("--base", help="The model that TUNED was trained from: a folder or hub id.")]


def merge(
    tuned: Annotated[str, typer.Argument(help="A model folder, a LoRA adapter, or a hub id.")],
    out: Out,
    base: Base = None,
    alpha: Annotated[float, typer.Option("--alpha", help="0 = the base, 1 = TUNED.")] = 1.0,
    delta: Annotated[
        list[str] | None,
        typer.Option("--delta", metavar="WEIGHT,SAFE,UNSAFE", help="Add WEIGHT * (SAFE - UNSAFE); repeatable."),
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16; default: as stored.")] = None,
) -> None:
    """Write the model between base and TUNED, streamed, to OUT/model."""
    try:
        from safekeel.train import merge as stage_module
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("safekeel"):
            raise
        raise EngineError(f"merging needs {error.name}: pip install 'safekeel[train]'.") from error
    from safekeel.artifact import Stage, run_lock
    from safekeel.progress import ProgressReporter

    stage_module.check_alpha(alpha)
    stage_module.stored_as(dtype)
    folder, deltas = model_or_adapter(tuned), [_delta(text) for text in delta or []]
    base_folder = model_or_adapter(base) if base is not None else None
    config = stage_module.MergeConfig(alpha=alpha, delta_weights=tuple(each.weight for each in deltas), dtype=dtype)
    inputs = [path for path in (base_folder, folder) if path is not None]
    inputs += [path for each in deltas for path in (each.safe, each.unsafe)]
    identity = config.model_dump(mode="json") | {"has_base": base_folder is not None}
    stage = Stage(out, stage_module.STAGE, stage_module.VERSION, identity, inputs, 0, "safekeel merge")
    with run_lock(out), ProgressReporter() as progress:
        if stage.is_current():
            say(f"{out}: up to date, skipped")
        else:
            stage_module.run(config, stage, base_folder, folder, deltas, progress)
    typer.echo(f"hf:{out / stage_module.MODEL}")


def model_or_adapter(spec: str) -> Path:
    """The folder of a model or an adapter; `hf:` before it is allowed, a hub id is found as engines find it.

    Raises:
        EngineError: no such folder or model.
    """
    from safekeel.engines.local import find_model

    location = spec.removeprefix("hf:")
    folder = Path(location).expanduser()
    if (folder / "adapter_config.json").is_file() or folder.is_dir():
        return folder  # what is wrong with it is said when its header is read
    return find_model("hf", location)


def _delta(text: str) -> Delta:
    """
    Raises:
        UsageError: not three parts, or no number first.
    """
    from safekeel.train.merge import Delta

    parts = [part.strip() for part in text.split(",")]
    try:
        weight = float(parts[0])
    except ValueError:
        weight = None
    if weight is None or len(parts) != 3:
        raise UsageError(f"--delta {shown(text)}: expected WEIGHT,SAFE,UNSAFE, such as 0.5,out/safe/model,out/unsafe.")
    if not abs(weight) < float("inf"):
        raise UsageError(f"--delta {shown(text)}: expected a finite weight.")
    return Delta(weight=weight, safe=model_or_adapter(parts[1]), unsafe=model_or_adapter(parts[2]))
