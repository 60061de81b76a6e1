"""`attack.json`: everything an attack run measured, made from the folder's files alone, and the pages beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safekeel.artifact import atomic_write_json, atomic_write_text
from safekeel.attack_run import page
from safekeel.attack_run.base import Other, against_base, eligible_families, read_other
from safekeel.attack_run.measure import any_family, by_family, family_rows, rates_of, worst_family
from safekeel.attack_run.pack import DIRECT, Pack, write_pack
from safekeel.attack_run.search import OUTCOMES, SEARCHED
from safekeel.attack_run.searches import breaking_prompts, search_row
from safekeel.attack_run.sources import SOURCES, Sources, write_sources
from safekeel.attack_run.transfer import between_models, coverage_order, family_matrix
from safekeel.attacks import describe
from safekeel.attacks.search.driver import QUERIES
from safekeel.attacks.search.log import GoalOutcome, QueryRow
from safekeel.bench.metrics import Item
from safekeel.bench.run import members
from safekeel.errors import DataError
from safekeel.files import read_json
from safekeel.judges.base import Judge
from safekeel.records import read_jsonl
from safekeel.report.evidence import read_evaluation

ATTACK_JSON, ATTACK_MD, ATTACK_HTML = "attack.json", "attack.md", "attack.html"
BREAKS = "breaks.jsonl"
ABOUT_BREAKS = frozenset({"wording", "seed", "max_tokens"})
"""What a pack of the prompts that worked has from the pack that was asked."""
PAGE = (ATTACK_JSON, ATTACK_MD, ATTACK_HTML, BREAKS, BREAKS.replace(".jsonl", ".json"), SOURCES)
"""What `write_report` writes; everything else in the folder was measured."""
QUESTIONS = (("answer", "harmful"), ("answer", "refused"), ("thought", "harmful"), ("thought", "aware"))
"""What the metrics of an attack rest on, as a judge's card names it."""


@dataclass(frozen=True)
class Searched:
    """What the searches left in a folder; empty where there were none."""

    outcomes: tuple[GoalOutcome, ...]
    queries: tuple[QueryRow, ...]
    counts: dict[str, Any]


def write_report(folder: Path, sources: Sources, out: Path | None = None) -> list[Path]:
    """Write the files of `PAGE`; returns their paths.

    Args:
        out: another folder to write to, without `sources.json`, which says how to make this folder's page.

    Raises:
        DataError: a file of the folder, of a base or of another model is missing or malformed, or the pack is not what
            was asked.
    """
    evaluation, searched = read_evaluation(folder), read_searches(folder)
    place = {prompt.id: number for number, prompt in enumerate(sources.pack.prompts)}
    if strange := next((identifier for identifier, _ in evaluation.items if identifier not in place), None):
        raise DataError(
            f"{folder}: {strange!r} was asked, and the pack does not hold it: these files are of two attacks. Run the "
            "same `safekeel attack` command again."
        )
    # In the order of the pack: completions lie in the order in which they came.
    items = dict(sorted(evaluation.items.items(), key=lambda pair: (place[pair[0][0]], pair[0][1])))
    base = [read_other(path, items) for path in sources.base]
    others = [read_other(path, items) for path in sources.transfer]
    found = measured(evaluation.model, list(items.values()), searched, sources, base, others)
    examples = page.examples_of(list(items.values()), searched.queries)
    to = out or folder
    atomic_write_json(to / ATTACK_JSON, found)
    atomic_write_text(to / ATTACK_MD, page.markdown(found))
    atomic_write_text(to / ATTACK_HTML, page.html(found, examples))
    broke = breaking_prompts(list(items.values()), sources.pack.goals, searched.queries)
    about = {key: value for key, value in sources.pack.about.items() if key in ABOUT_BREAKS}
    write_pack(to, Pack(tuple(broke), about), BREAKS)
    written = [to / name for name in PAGE if name != SOURCES]
    return written if out else [*written, write_sources(folder, sources)]


def read_searches(folder: Path) -> Searched:
    """The searches of a folder."""
    if not (folder / OUTCOMES).exists():
        return Searched((), (), {})
    queries = read_jsonl(folder / QUERIES, QueryRow) if (folder / QUERIES).exists() else []
    return Searched(
        tuple(read_jsonl(folder / OUTCOMES, GoalOutcome)), tuple(queries), read_json(folder / SEARCHED) or {}
    )


def measured(
    model: str,
    items: Sequence[Item],
    searched: Searched,
    sources: Sources,
    base: Sequence[Other],
    others: Sequence[Other],
) -> dict[str, Any]:
    """The content of `attack.json`."""
    judges = members(sources.judge)
    groups = by_family(items)
    rows = family_rows(groups, model, judges)
    before = against_base(base) if base else None
    eligible, unmeasurable = eligible_families(before, list(groups))
    of_family = {each["name"]: each for each in describe()}
    for row in rows:
        row |= _about(row["family"], of_family, sources.pack, before, row["family"] in eligible)
    counted = [row for row in rows if row["family"] in eligible]
    attacked = [item for family in eligible for item in groups[family]]
    return {
        "model": model,
        "pack": _pack(sources.pack),
        "sampling": sources.sampling.model_dump(mode="json"),
        "judges": _judges(judges, items),
        "headline": bool(counted) and all(row["asr"] is None or row["asr"]["headline"] for row in counted),
        "families": rows,
        "counted": eligible,
        "not_measurable": unmeasurable,
        "pooled": rates_of(attacked, model, judges) if attacked else None,
        "any_family": any_family({family: groups[family] for family in eligible}),
        "worst_family": worst_family(counted),
        "baseline_complies": [row["family"] for row in counted if row["baseline_complies"]],
        "searches": _searches(searched),
        "transfer": {"families": family_matrix(groups), "cover": coverage_order(groups), "models": _models(others)},
        "base": None if before is None else {**before, "judges_differ": before["judges"] != sorted(judges)},
        "cost": _cost(items, searched),
    }


def _about(
    family: str, known: Mapping[str, Mapping[str, Any]], pack: Pack, base: Mapping[str, Any] | None, counts: bool
) -> dict[str, Any]:
    """What is known of a family beside its numbers; of one that is not installed here, its name."""
    info = known.get(family, {})
    eligibility = (base or {}).get("eligibility", {}).get(family)
    return {
        "mode": info.get("mode"),
        "kind": info.get("kind"),
        "about": info.get("goal"),
        "source": info.get("source"),
        "skipped": pack.about.get("skipped", {}).get(family, 0),
        "counts_as_attack": counts and family != DIRECT,
        "base_compliance": eligibility["base_compliance"] if eligibility else None,
        "change": ((base or {}).get("changes") or {}).get(family),
    }


def _pack(pack: Pack) -> dict[str, Any]:
    about = {name: pack.about.get(name) for name in ("wording", "seed", "goals", "skipped")}
    return {
        "sha256": pack.sha256,
        "num_prompts": len(pack.prompts),
        "num_goals": len(pack.goals),
        "langs": sorted({prompt.lang for prompt in pack.prompts}),
        **about,
    }


def _judges(judges: Mapping[str, Judge], items: Sequence[Item]) -> list[dict[str, Any]]:
    """Each judge with what its card measured in the languages of the items."""
    langs = sorted({item.prompt.lang for item in items})
    rows = []
    for judge in judges.values():
        card = judge.card
        measured_on = [
            (lang, part, question, found)
            for part, question in QUESTIONS
            for lang in langs
            if card is not None and (found := card.find(lang, part, question)) is not None
        ]
        rows.append(
            {
                "name": judge.name,
                "version": judge.version,
                "label_source": judge.label_source,
                "num_verdicts": sum(item.judge == judge.name for item in items),
                "card": [
                    {
                        "lang": lang,
                        "part": part,
                        "question": question,
                        "kappa": found.kappa,
                        "accuracy": found.accuracy,
                        "num_items": found.num_items,
                        "dataset": found.dataset,
                        "label_source": found.label_source,
                    }
                    for lang, part, question, found in measured_on
                ],
            }
        )
    return rows


def _searches(searched: Searched) -> list[dict[str, Any]]:
    names = dict.fromkeys(each.strategy for each in searched.outcomes)
    return [
        search_row(
            [each for each in searched.outcomes if each.strategy == name],
            [row for row in searched.queries if row.strategy == name],
            searched.counts.get(name, {}),
        )
        for name in names
    ]


def _models(others: Sequence[Other]) -> list[dict[str, Any]]:
    return [
        {"model": other.evaluation.model, "folder": str(other.folder), **between_models(other.pairs)}
        for other in others
    ]


def _cost(items: Sequence[Item], searched: Searched) -> dict[str, int]:
    return {
        "target_calls": len(items) + len(searched.queries),
        "prompt_tokens": sum(item.completion.num_prompt_tokens for item in items)
        + sum(row.prompt_tokens for row in searched.queries),
        "completion_tokens": sum(item.completion.num_completion_tokens for item in items)
        + sum(row.response_tokens for row in searched.queries),
        "attacker_calls": sum(each.attacker_calls for each in searched.outcomes),
    }
