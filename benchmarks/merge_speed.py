"""Speed and memory of interpolation beside `cp`, in one run, on the same disk.

    python benchmarks/merge_speed.py [--gib 2] [--dtype bfloat16] [--folder DIR] [--out FILE.json]

Makes two sharded models of random weights with the tensor sizes of a 1.5B Qwen2 (repeated up to `--gib`), then three
times in turn: `cp` of one of them and fsync, our merge at alpha 0.5 and 1 (fsync included), `cp` again. Merging
reads two models and writes one, `cp` reads one and writes one, so both figures are given: bytes of the new model per
second, and bytes moved (read and written) per second. Files are in the page cache where they fit, for both.
Memory is how far the resident size of a fresh process grew over what it had before the merge.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

THREADS = os.environ.setdefault("OMP_NUM_THREADS", "1")
ROUNDS = 3
LAYER = {
    "self_attn.q_proj.weight": (1536, 1536), "self_attn.k_proj.weight": (256, 1536),
    "self_attn.v_proj.weight": (256, 1536), "self_attn.o_proj.weight": (1536, 1536),
    "mlp.gate_proj.weight": (8960, 1536), "mlp.up_proj.weight": (8960, 1536), "mlp.down_proj.weight": (1536, 8960),
    "input_layernorm.weight": (1536,), "post_attention_layernorm.weight": (1536,),
}  # fmt: skip
"""Of Qwen2-1.5B, the architecture of R1-Distill-Qwen-1.5B; its embedding is the largest tensor."""
EMBEDDING = (151936, 1536)


def make(folder: Path, seed: int, gib: float, dtype: str) -> None:
    """A model folder of about `gib`, one shard per 8 layers."""
    import torch
    from safetensors.torch import save_file

    rng, kind = torch.Generator().manual_seed(seed), getattr(torch, dtype)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2", "dtype": dtype}))
    (folder / "tokenizer_config.json").write_text("{}")
    place, number, written, layer = {}, 0, 0, 0
    tensors = {"model.embed_tokens.weight": torch.randn(EMBEDDING, generator=rng).to(kind)}
    while written < gib * 2**30:
        number += 1
        for _ in range(8):
            for name, shape in LAYER.items():
                tensors[f"model.layers.{layer}.{name}"] = torch.randn(shape, generator=rng).to(kind)
            layer += 1
        file = f"model-{number:05}.safetensors"
        save_file(tensors, folder / file, {"format": "pt"})
        written += sum(tensor.nbytes for tensor in tensors.values())
        place |= dict.fromkeys(tensors, file)
        tensors = {}
    index = {"metadata": {"total_size": written}, "weight_map": place}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def copy(source: Path, target: Path) -> float:
    """Seconds of `cp -r` and an fsync of every file, as the merge does."""
    started = time.perf_counter()
    subprocess.run(["cp", "-r", str(source), str(target)], check=True)
    for file in target.iterdir():
        handle = os.open(file, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
    seconds = time.perf_counter() - started
    shutil.rmtree(target)
    return seconds


def merge_in_process(base: Path, tuned: Path, out: Path, alpha: float) -> None:
    """What the child process does; prints seconds, and by how much its memory grew at most, in MiB."""
    from safekeel.train.merge import opened, write_model

    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak that importing torch had (Linux)
    before = resident("VmRSS")
    started = time.perf_counter()
    with opened(base, tuned, alpha) as mix:
        write_model(mix, base, tuned, out)
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "cpu": time.process_time(), "memory_mib": resident("VmHWM") - before}))


def resident(what: str) -> float:
    """Resident memory of this process now (VmRSS) or at its peak (VmHWM), in MiB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) / 1024


def merged(base: Path, tuned: Path, out: Path, alpha: float) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", str(base), str(tuned), str(out), str(alpha)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    shutil.rmtree(out)
    return dict(found)


def measure(folder: Path, gib: float, dtype: str) -> dict[str, Any]:
    """Both sides in turn, `ROUNDS` times; medians."""
    base, tuned, out = folder / "base", folder / "tuned", folder / "out"
    make(base, 1, gib, dtype)
    make(tuned, 2, gib, dtype)
    size = sum(file.stat().st_size for file in tuned.glob("*.safetensors"))
    copied: list[float] = []
    halves: list[dict[str, float]] = []
    ones: list[dict[str, float]] = []
    for _ in range(ROUNDS):
        copied.append(copy(tuned, out))
        halves.append(merged(base, tuned, out, 0.5))
        ones.append(merged(base, tuned, out, 1.0))
        copied.append(copy(tuned, out))

    def row(name: str, seconds: float, models_moved: int, extra: dict[str, float]) -> dict[str, Any]:
        rates = {"output_gb_s": size / seconds / 1e9, "moved_gb_s": models_moved * size / seconds / 1e9}
        return {"what": name, "seconds": seconds} | rates | extra

    def memory(rows: list[dict[str, float]]) -> dict[str, float]:
        return {"memory_mib": max(row["memory_mib"] for row in rows)}

    return {
        "gib": size / 2**30,
        "dtype": dtype,
        "largest_tensor_mib": EMBEDDING[0] * EMBEDDING[1] * (4 if dtype == "float32" else 2) / 2**20,
        "threads": int(THREADS),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "rows": [
            row("cp, fsync", statistics.median(copied), 2, {}),
            row("merge, alpha 0.5", statistics.median(r["seconds"] for r in halves), 3, memory(halves)),
            row("merge, alpha 1", statistics.median(r["seconds"] for r in ones), 2, memory(ones)),
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=2.0)
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float16", "float32"))
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        base, tuned, out, alpha = options.child
        merge_in_process(Path(base), Path(tuned), Path(out), float(alpha))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = measure(Path(folder), options.gib, options.dtype)
    print(f"{found['gib']:.2f} GiB {found['dtype']}, {found['machine']}, {found['threads']} thread(s)")
    for row in found["rows"]:
        memory = f"   {row['memory_mib']:.0f} MiB of memory" if "memory_mib" in row else ""
        rates = f"{row['output_gb_s']:7.2f} GB/s out{row['moved_gb_s']:7.2f} moved"
        print(f"{row['what']:<18}{row['seconds']:7.2f} s{rates}{memory}")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
