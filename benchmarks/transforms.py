"""Speed of the attack families: requests dressed per second on one core, per family and language.

    python benchmarks/transforms.py [--requests 1000] [--out docs/results/transforms]

The requests are the harmless counterparts of our own starter prompts, repeated as often as needed. Every family builds
whole conversations (`messages`), each request with a seed of its own, as a pack does. `plain` is the share of requests
that stand unchanged in what came out: all of them for a wrapper, and for an encoding those it could not hide.

The first request of each family is not measured: it loads tables and libraries. Prints a table, and with --out writes
`transforms.json`. For comparison: an engine that serves 256 requests at once at 1 s each needs 256 a second.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from safekeel.attacks import ATTACKS, AttackFamily, Request
from safekeel.data.starter import StarterRow, starter_folder
from safekeel.errors import UsageError
from safekeel.records import Lang, read_jsonl

LANGS: tuple[Lang, ...] = ("zh", "en")


def requests(num: int, lang: Lang) -> list[Request]:
    """`num` harmless requests."""
    rows = [row for path in sorted(starter_folder().glob("*.jsonl")) for row in read_jsonl(path, StarterRow)]
    return [Request(row.counter(lang), lang) for row in islice(cycle(rows), num)]


def measure(family: AttackFamily, asked: list[Request]) -> dict[str, Any]:
    """Requests per second, characters that came out per request, share of requests that stayed plain."""
    seeds = [random.Random(seed) for seed in range(len(asked))]
    family.messages(asked[0], rng=random.Random(0))
    started = time.perf_counter()
    made = [family.messages(request, rng=rng) for request, rng in zip(asked, seeds, strict=True)]
    seconds = time.perf_counter() - started
    written = ["\n".join(message.content for message in messages) for messages in made]
    plain = sum(request.text in text for request, text in zip(asked, written, strict=True))
    return {
        "per_second": round(len(asked) / seconds),
        "characters": round(sum(map(len, written)) / len(asked)),
        "plain": plain / len(asked),
    }


def main() -> None:
    """Measure all families and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    asked = {lang: requests(options.requests, lang) for lang in LANGS}
    rows: list[dict[str, Any]] = []
    for family in map(ATTACKS.get, ATTACKS.names()):
        for lang in family.languages:
            try:
                found = measure(family, asked[lang])
            except UsageError as error:
                print(f"{family.name}: skipped ({error})", file=sys.stderr)
                continue
            rows.append({"family": family.name, "mode": family.mode, "lang": lang, **found})
    print(f"{'family':28}{'mode':13}lang  requests/s  characters  plain")
    for row in sorted(rows, key=lambda row: row["per_second"]):
        numbers = f"{row['per_second']:>10,}{row['characters']:>12,}{row['plain']:>7.0%}"
        print(f"{row['family']:28}{row['mode']:13}{row['lang']:4}{numbers}")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        result = {"requests": options.requests, "python": platform.python_version(), "families": rows}
        (options.out / "transforms.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
