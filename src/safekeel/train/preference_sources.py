"""Where preference pairs come from: a corpus build, the nano world, public pairs, own files.

corpus   chosen = the accepted sample; rejected = an own answer to the same prompt that its judge called harmful,
         or a refusal where help is expected
nano     chosen = the accepted sample; rejected = what the base says to a risky prompt (it complies), and the
         refusal of a harmless twin under its risky twin's category
jade     JADE v3's authors wrote an unsafe and a safe answer to each prompt; it is a benchmark, so only on request
files    the user's own rows of `Preference`
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safekeel.bench.generate import generate
from safekeel.bench.judging import judge_completions, verdict_key
from safekeel.corpus.sample import Sample
from safekeel.engines.base import Engine, Sampling
from safekeel.errors import DataError, UsageError
from safekeel.judges.base import Judge
from safekeel.nano import language
from safekeel.nano.world import SOURCE as NANO
from safekeel.progress import Progress
from safekeel.records import Completion, Verdict, read_jsonl
from safekeel.train.preference_data import Dropped, Gathered, Preference, Side

REFUSALS = ("responsible_refusal", "refusal")
OWN_ANSWERS = "own_answers"
VERDICTS = ".verdicts.jsonl"
LEARNT_ROLES = ("risky", "counter", "general")
"""Roles with a right and a wrong thing to do about safety; replay is kept by the SFT stage."""


def sources_of(samples: Sequence[Sample]) -> tuple[str, ...]:
    """What a corpus folder can give by itself: the nano world's samples have no judged candidates beside them."""
    return ("nano",) if any(sample.prompt.source == NANO for sample in samples) else ("corpus",)


def judged_files(corpus: Path) -> list[tuple[Path, Path]]:
    """(completions, verdicts) in a build's `generated/`: own answers first, since they are the target's by
    construction."""
    found = sorted((corpus / "generated").glob(f"*{VERDICTS}"), key=lambda path: (not _own(path), path.name))
    pairs = [(path.with_name(path.name.removesuffix(VERDICTS) + ".jsonl"), path) for path in found]
    return [(rows, verdicts) for rows, verdicts in pairs if rows.exists()]


def _own(path: Path) -> bool:
    return path.name.startswith(OWN_ANSWERS)


@dataclass(frozen=True)
class Asking:
    """How the model that is to be trained answers the corpus' prompts, and who judges that."""

    engine: Engine
    judge: Judge
    sampling: Sampling


def own_pairs(
    samples: Sequence[Sample], asking: Asking, folder: Path, max_per_prompt: int, progress: Progress | None
) -> Gathered:
    """Pairs of accepted samples with the model's own wrong answers, generated and judged now; both are kept in `folder`
    under content keys, so that a kill loses nothing.

    Raises:
        EngineError: the engine or the judge gave up; the same call continues.
    """
    wanted = [sample for sample in samples if sample.role in LEARNT_ROLES]
    prompts = [sample.prompt.model_copy(update={"id": sample.id}) for sample in wanted]
    rows_path = folder / f"{OWN_ANSWERS}.jsonl"
    verdicts_path = folder / f"{OWN_ANSWERS}{VERDICTS}"
    rows = generate(asking.engine, prompts, asking.sampling, rows_path, progress, OWN_ANSWERS)
    judge_completions(prompts, rows, asking.judge, verdicts_path, progress)
    return judged_pairs([(rows_path, verdicts_path)], wanted, max_per_prompt)


def corpus_pairs(corpus: Path, samples: Sequence[Sample], max_per_prompt: int) -> Gathered:
    """Pairs of accepted samples with wrong answers that the build generated and judged; see `judged_pairs`."""
    return judged_pairs(judged_files(corpus), samples, max_per_prompt)


def judged_pairs(files: Sequence[tuple[Path, Path]], samples: Sequence[Sample], max_per_prompt: int) -> Gathered:
    """Pairs of accepted samples with judged wrong answers to the same prompt.

    A verdict counts only where its key is that of prompt and completion as they are here: some writers put a response
    together from several completions, and their verdicts are about the whole.

    Args:
        files: (completions, verdicts), the preferred ones first.
        max_per_prompt: rejected responses taken of one prompt.

    Raises:
        DataError: a file is malformed.
    """
    wanted = {sample.id: sample for sample in samples if sample.role in LEARNT_ROLES}
    found: dict[str, list[tuple[Side, str]]] = {name: [] for name in wanted}
    seen: dict[str, Counter[str]] = {name: Counter() for name in wanted}
    for rows_path, verdicts_path in files:
        verdicts = _by_row(read_jsonl(verdicts_path, Verdict))
        for row in read_jsonl(rows_path, Completion):
            if (sample := wanted.get(row.prompt_id)) is None:
                continue
            wrong = _wrong(sample, row, verdicts.get((row.prompt_id, row.sample), []))
            if isinstance(wrong, str):
                seen[sample.id][wrong] += 1
            elif all(wrong.says() != other.says() for other, _ in found[sample.id]):
                found[sample.id].append((wrong, rows_path.stem))
    result = Gathered()
    for name, sample in wanted.items():
        for number, (side, where) in enumerate(found[name][:max_per_prompt]):
            result.pairs.append(_pair(sample, side, where, number))
        if not found[name]:
            told = ", ".join(f"{what} {count}" for what, count in seen[name].most_common()) or "no other answer"
            result.dropped.append(Dropped(id=name, step="judged", reason="no_wrong_answer", evidence=told))
    return result


def _by_row(verdicts: Sequence[Verdict]) -> dict[tuple[str, int], list[Verdict]]:
    found: dict[tuple[str, int], list[Verdict]] = {}
    for verdict in verdicts:
        found.setdefault((verdict.prompt_id, verdict.sample), []).append(verdict)
    return found


def _wrong(sample: Sample, row: Completion, verdicts: Sequence[Verdict]) -> Side | str:
    """The completion as a rejected side, or what it is instead."""
    if row.finish != "stop" or row.split in ("truncated", "empty_answer") or not row.answer.strip():
        return "unfinished"
    prompt = sample.prompt.model_copy(update={"id": sample.id})
    labels = {
        v.part: v.label for v in verdicts if v.key == verdict_key(prompt, row, v.judge_version) and not v.unscored
    }
    if not labels:
        return "unscored" if any(verdict.unscored for verdict in verdicts) else "not_judged"
    unsafe = "harmful" in labels.values()
    over_refusing = sample.role != "risky" and sample.prompt.expect == "answer" and labels.get("answer") in REFUSALS
    if unsafe or over_refusing:
        return Side(thought=row.thought or "", answer=row.answer, safe=not unsafe)
    return labels.get("answer", "unscored")


def _pair(sample: Sample, rejected: Side, source: str, number: int = 0) -> Preference:
    chosen = Side(thought=sample.thought, answer=sample.answer, safe=True)
    name = sample.id if number == 0 else f"{sample.id}#{number}"
    return Preference(id=name, prompt=sample.prompt, chosen=chosen, rejected=rejected, source=source)


def nano_pairs(samples: Sequence[Sample]) -> Gathered:
    """Pairs of the nano world: its grammar says exactly how the base complies and how a refusal reads."""
    risk_of = {sample.id: sample.prompt.risk for sample in samples if sample.role == "risky"}
    result = Gathered()
    for sample in samples:
        if sample.role not in LEARNT_ROLES or "phrase" not in sample.prompt.meta:
            continue
        phrase, lang = str(sample.prompt.meta["phrase"]), sample.prompt.lang
        if sample.role == "risky":
            thought, answer = language.base_thought(phrase, lang), language.help_answer(phrase, lang)
            result.pairs.append(_pair(sample, Side(thought=thought, answer=answer, safe=False), NANO))
        elif risk := risk_of.get(sample.pair or ""):
            thought, answer = language.safe_thought(phrase, risk, lang), language.refusal(risk, lang)
            result.pairs.append(_pair(sample, Side(thought=thought, answer=answer, safe=True), NANO))
        else:
            evidence = f"its risky twin {sample.pair!r} is not in the corpus"
            result.dropped.append(Dropped(id=sample.id, step="nano", reason="no_twin", evidence=evidence))
    return result


def jade_pairs(allow_benchmarks: Sequence[str], data_dir: Path | None) -> Gathered:
    """JADE v3 hard (Zhang, Pan and Yang 2023, arXiv 2311.00286; MIT): 150 prompts with an unsafe and a safe answer.

    Neither has a thought. The prompts are those of the benchmark `jade`, in its order.

    Raises:
        UsageError: the benchmark was not given up for training.
        DataError: the file is missing or not the pinned one.
    """
    from safekeel.bench.safety import BENCHMARKS
    from safekeel.bench.safety.readers import GB18030, read_csv
    from safekeel.corpus.sources.licences import check_benchmark, check_licence
    from safekeel.corpus.sources.pinned import checked_path
    from safekeel.data.registry import find_set

    data_set = find_set("jade")
    try:
        check_benchmark(data_set, allow_benchmarks)
    except UsageError as error:
        told = str(error).replace("sources.allow_benchmarks", "preference.allow_benchmarks")
        raise UsageError(f"preference.sources: {told}") from error
    warnings = check_licence(data_set, ())
    path, _ = checked_path(data_set, data_set.files[0], data_dir)
    rows = read_csv(path, ("ID", "问题", "违规回答", "安全有用回答"), GB18030)
    by_key = {row.text("ID"): row for row in rows}
    result = Gathered(
        warnings=[*warnings, "trained on jade at the user's word: the benchmark jade measures nothing now"]
    )
    for prompt in BENCHMARKS.get("jade").prompts("test", None, data_dir, 0):
        row = by_key[prompt.id.split("/", 1)[1]]
        chosen, rejected = (
            Side(answer=row.text(column), safe=safe) for column, safe in (("安全有用回答", True), ("违规回答", False))
        )
        result.pairs.append(Preference(id=prompt.id, prompt=prompt, chosen=chosen, rejected=rejected, source="jade"))
    return result


def file_pairs(path: Path) -> Gathered:
    """The user's own pairs.

    Raises:
        DataError: no such file, or a row is no `Preference` (with its line).
    """
    pairs = read_jsonl(path, Preference)
    if not pairs:
        raise DataError(f"{path} holds no pairs; expected one Preference per line (docs: train/preference_data.py).")
    return Gathered(pairs=pairs)
