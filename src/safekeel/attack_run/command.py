"""`safekeel attack`: a prepared attack is run, continued or skipped, and turned into a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safekeel.artifact import MANIFEST, read_manifest, refresh_manifest, run_lock
from safekeel.attack_run.cost import as_text
from safekeel.attack_run.pack import DIRECT, PREFIX, write_pack
from safekeel.attack_run.prepare import AttackRequest, Prepared, Say, prepare
from safekeel.attack_run.report import Sources, write_report
from safekeel.attack_run.search import check_attacker, run_searches
from safekeel.attack_run.stage import STAGE, SharedStage
from safekeel.attacks.search.driver import CALLS, QUERIES
from safekeel.attacks.search.log import failed_calls, forget_failures
from safekeel.attacks.search.suffix_log import SUFFIXES
from safekeel.bench.command import KEPT
from safekeel.bench.generate import COMPLETIONS
from safekeel.bench.routing import judge_for
from safekeel.bench.run import JUDGED_BY, evaluate, rejudge
from safekeel.engines import model_folder, open_engine
from safekeel.errors import EngineError
from safekeel.judges.base import Judge
from safekeel.judges.open import notice
from safekeel.progress import ProgressReporter
from safekeel.records import Completion, read_jsonl

VERSION = "1"
ALL_FAMILIES = f"{PREFIX}all"
"""The pool of every family without the baseline, in `scores.json`."""
FAILED_CALLS = "failed_calls"
"""Where the manifest's counts say how many calls of the searches failed, of target and attacker."""


def attack_model(request: AttackRequest, out: Path, command: str, say: Say) -> dict[str, Any]:
    """Run the attack into `out`; continues an interrupted one, skips a finished one, and asks again for what failed.

    Returns:
        What `attack.json` holds.

    Raises:
        UsageError, DataError, EngineError: see `safekeel.errors`; what is done stays in `out`.
    """
    prepared = prepare(request, say)
    say(as_text(prepared.plan, prepared.pack.sha256))
    judge = judge_for(list(prepared.pack.prompts), request.target.judge.open, request.target.test_words)
    if guard := notice(request.target.judge.name):
        say(guard)
    with run_lock(out):
        stage = _stage(request, prepared, judge, out, command)
        sources = Sources(prepared.pack, judge, prepared.sampling, request.base, request.transfer)
        if stage.is_current():
            counts = read_manifest(out)["counts"]
            if not (failed := counts["failed"] + counts.get(FAILED_CALLS, 0)):
                return _finished(out, judge, sources, say)
            say(f"{out}: {failed} of its calls failed; asking for these again")
        elif (out / MANIFEST).exists():
            why = (stage.why_stale() or "").replace("config digest", "settings")
            say(
                f"{out} holds the result of another attack ({why}), which this one replaces; replies that fit both are "
                "not asked for again"
            )
        with ProgressReporter() as progress:
            _run(request, prepared, judge, stage, sources, progress)
    _say_failures(out, say)
    found: dict[str, Any] = json.loads((out / "attack.json").read_text("utf-8"))
    return found


def _run(
    request: AttackRequest,
    prepared: Prepared,
    judge: Judge,
    stage: SharedStage,
    sources: Sources,
    progress: ProgressReporter,
) -> None:
    engine = open_engine(request.target.model, **request.target.engine_options())
    attacker = request.search.open_attacker(prepared.strategies)
    if not stage.begin():  # no continuation, so what failed before gets another chance
        forget_failures(stage.dir / CALLS)
    write_pack(stage.dir, prepared.pack)
    if attacker is not None:
        check_attacker(attacker, stage.dir)
    pools = {ALL_FAMILIES: [f"{PREFIX}{name}" for name in prepared.pack.families if name != DIRECT]}
    evaluate(
        stage,
        engine,
        list(prepared.pack.prompts),
        judge,
        prepared.sampling,
        pools=pools,
        reuse=request.target.reuse,
        progress=progress,
    )
    _require_answers(stage.dir)
    outputs = [stage.dir / name for name in ("pack.jsonl", "pack.json")]
    counts: dict[str, Any] = {"pack": prepared.pack.sha256}
    if prepared.strategies:
        config = request.search.config(prepared.sampling, prepared.wording)
        outputs += run_searches(
            prepared.strategies, prepared.pack.goals, engine, judge, config, stage.dir,
            families=prepared.families, attacker=attacker, progress=progress,
        )  # fmt: skip
        counts[FAILED_CALLS] = len(failed_calls(stage.dir / CALLS))
    outputs += write_report(stage.dir, sources)
    stage.seal(outputs, counts)


def _stage(request: AttackRequest, prepared: Prepared, judge: Judge, out: Path, command: str) -> SharedStage:
    target, folder = request.target, model_folder(request.target.model)
    config: dict[str, Any] = {
        "model": target.model,
        "revision": target.revision,
        "base_urls": list(target.base_urls),
        "tokenizer": str(target.tokenizer) if target.tokenizer else None,
        "plain_template": target.plain_template,
        "pack": prepared.pack.sha256,
        "sampling": prepared.sampling.model_dump(mode="json"),
    }
    if prepared.strategies:  # a search goes where its judge leads it: another judge makes it another search
        names = [family.name for family in prepared.families]
        config |= {"search": request.search.identity(), "families": names, "judge": judge.version}
    kept = (*KEPT, CALLS, QUERIES, SUFFIXES)
    return SharedStage(out, STAGE, VERSION, config, [folder] if folder else [], target.seed, command, keep=kept)


def _finished(out: Path, judge: Judge, sources: Sources, say: Say) -> dict[str, Any]:
    """A finished folder: judged again where the judge is another one, and its page made again where it would change."""
    if read_manifest(out)["counts"][JUDGED_BY] != judge.version:
        say(f"{out}: completions up to date, judged again by {judge.name}")
        pools = {ALL_FAMILIES: [f"{PREFIX}{name}" for name in sources.pack.families if name != DIRECT]}
        with ProgressReporter() as progress:
            rejudge(out, judge, pools, progress)
    before = (out / "attack.json").read_text("utf-8")
    write_report(out, sources)
    after = (out / "attack.json").read_text("utf-8")
    say(f"{out}: up to date, {'skipped' if before == after else 'its page made again'}")
    refresh_manifest(out, {})
    found: dict[str, Any] = json.loads(after)
    return found


def _require_answers(folder: Path) -> None:
    """
    Raises:
        EngineError: nothing was answered at all.
    """
    rows = read_jsonl(folder / COMPLETIONS, Completion)
    reasons = _reasons(rows)
    if rows and len(reasons) == len(rows):
        raise EngineError(
            f"all {len(rows)} completions failed; most often: {_most(reasons)} Put it right and run the same command "
            "again."
        )


def _say_failures(folder: Path, say: Say) -> None:
    rows = read_jsonl(folder / COMPLETIONS, Completion)
    if reasons := _reasons(rows):
        say(
            f"{folder}: {len(reasons)} of {len(rows)} completions failed; most often: {_most(reasons)} They are "
            "unscored and widen the bounds; the same command asks for them again."
        )
    if reasons := _reasons(failed_calls(folder / CALLS)):
        say(
            f"{folder}: {len(reasons)} calls of the searches failed; most often: {_most(reasons)} They are no "
            "defence, and made the search weaker; the same command asks for them again."
        )


def _reasons(rows: Sequence[Completion]) -> list[str]:
    return [row.error or "" for row in rows if row.finish == "error"]


def _most(reasons: Sequence[str]) -> str:
    """The most frequent one, as a sentence."""
    most = max(reasons, key=reasons.count)
    return most if most.endswith((".", "。", "!", "?")) else f"{most}."
