"""A plan as a page for the terminal."""

from __future__ import annotations

from safekeel.train.launch.plan import GIB, Plan

_WHAT = {"sft": "samples", "preference": "pairs", "rl": "prompts"}
_PARTS = {
    "weights": "weights",
    "working": "weights gathered or cast for the layers at work",
    "gradients": "gradients",
    "optimizer": "optimizer",
    "references": "reference models",
    "activations": "activations",
    "recomputed": "one layer, computed again",
    "logits": "logits",
    "cache": "keys and values while sampling",
}


def as_text(plan: Plan) -> str:
    """Tokens, steps, memory by part, hours and cost, and what stands against it."""
    lines = [
        f"{plan.kind}: {_count(plan.params)} parameters, {_share(plan.trained, plan.params)} of them trained, on "
        f"{plan.devices} device(s)",
        f"  data       {plan.lengths.samples:,} {_WHAT[plan.kind]}, {plan.lengths.tokens:,} tokens (mean "
        f"{plan.lengths.mean:,.0f}, longest {plan.lengths.longest:,})",
        f"  steps      {plan.steps:,}; {plan.trained_tokens:,} tokens through training"
        + (f"; up to {plan.generated_tokens:,} tokens sampled" if plan.generated_tokens else ""),
        f"  one pass   {plan.work.rows} row(s) of up to {plan.work.length:,} tokens, "
        f"{'bf16' if plan.work.value_bytes == 2 else 'fp32'}, activations: {plan.work.activations}"
        + (", packed" if plan.work.packed else ""),
        "  memory of one device, at its peak (estimate)",
    ]
    for name, size in plan.memory.parts().items():
        if size:
            lines.append(f"    {_size(size)}  {_PARTS[name]}")
    lines.append(f"    {_size(plan.memory.total)}  at the worst moment: not every part exists at the same time")
    if plan.device_bytes is not None:
        lines.append(f"    {_size(plan.device_bytes)}  the device has")
    if plan.host:
        lines.append(f"    {_size(plan.host)}  of activations on the host, per device")
    lines.append(f"  time       {_time(plan)}")
    if plan.cost is not None:
        lines.append(f"  cost       {plan.cost:,.2f} at the stated price per device and hour")
    lines += [f"  note: {note}" for note in plan.notes]
    lines += [f"  PROBLEM: {problem}" for problem in plan.problems]
    return "\n".join(lines)


def _count(number: int) -> str:
    return f"{number / 1e9:.3g} B" if number >= 1e8 else f"{number / 1e6:.3g} M"


def _share(part: int, whole: int) -> str:
    return "all" if part == whole else f"{part / whole:.2g}" if part > whole / 10 else f"{part / whole:.2%}"


def _size(num_bytes: int) -> str:
    """Ten columns, in GiB or, below a tenth, in MiB."""
    gib = num_bytes / GIB
    return f"{gib:>8.1f} GiB" if gib >= 0.1 else f"{gib * 1024:>8.1f} MiB"


def _time(plan: Plan) -> str:
    if plan.seconds is None or plan.device_hours is None:
        return plan.rate
    hours = plan.seconds / 3600
    told = f"{hours:,.1f} h" if hours >= 1 else f"{plan.seconds / 60:,.1f} min"
    return f"about {told}, {plan.device_hours:,.1f} device hours ({plan.rate})"
