"""`safekeel attack`: a prepared attack is run, continued or skipped, and turned into a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safekeel.artifact import read_manifest, refresh_manifest, run_lock
from safekeel.attack_run.cost import as_text
from safekeel.attack_run.pack import DIRECT, PREFIX, write_pack
from safekeel.attack_run.prepare import AttackRequest, Prepared, Say, prepare
from safekeel.attack_run.report import Sources, write_report
from safekeel.attack_run.search import run_searches
from safekeel.attack_run.stage import SharedStage
from safekeel.attacks.search.driver import CALLS, QUERIES
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

STAGE, VERSION = "attack", "1"
ALL_FAMILIES = f"{PREFIX}all"
"""The pool of every family without the baseline, in `scores.json`."""


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
            if not (failed := read_manifest(out)["counts"]["failed"]):
                return _finished(out, judge, sources, say)
            say(f"{out}: {failed} of its rows failed; asking for these again")
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
    stage.begin()
    write_pack(stage.dir, prepared.pack)
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
    kept = (*KEPT, CALLS, QUERIES)
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
    failed, total, most = _failures(folder)
    if failed and failed == total:
        raise EngineError(f"all {total} completions failed; most often: {most} Put it right and run the same again.")


def _say_failures(folder: Path, say: Say) -> None:
    failed, total, most = _failures(folder)
    if failed:
        say(
            f"{folder}: {failed} of {total} completions failed; most often: {most} They are unscored and widen the "
            "bounds; the same command asks for them again."
        )


def _failures(folder: Path) -> tuple[int, int, str]:
    """(failed, all, the most frequent reason)"""
    rows = read_jsonl(folder / COMPLETIONS, Completion)
    reasons = [row.error or "" for row in rows if row.finish == "error"]
    return len(reasons), len(rows), max(reasons, key=reasons.count, default="")
