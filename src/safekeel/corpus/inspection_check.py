"""The automatic check: keywords or a judge on at least 10% of the corpus, of which 98% must be qualified."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from safekeel.bench.judging import judge_completions
from safekeel.bench.score import MIN_KAPPA
from safekeel.corpus.inspection import QUALIFIED_BY_CHECK, Rate, check_needed, decide, rate
from safekeel.corpus.inspection_rows import Inspected, InspectRow, Part
from safekeel.corpus.keywords import KeywordList, Matcher
from safekeel.errors import UsageError
from safekeel.files import digest
from safekeel.judges.base import Judge
from safekeel.judges.rules import RulesJudge
from safekeel.progress import Progress
from safekeel.records import CANNOT_JUDGE, Completion, Message, Prompt, Verdict

HARMFUL = "harmful"
_REFUSALS = ("refusal", "responsible_refusal")
_MAX_LISTED = 200
"""Rows listed in the result, by id and never by text; all of them are found again with the same seed."""


class Outcome(NamedTuple):
    """What a check says of one row: `qualified`, `risk`, or `undecided`, with the word or label that says so."""

    kind: str
    why: str = ""


def sampled(corpus: Inspected, share: float, seed: int) -> list[InspectRow]:
    """A simple random sample of a share of the corpus, rounded up, in the corpus's order.

    Raises:
        UsageError: no share in (0, 1].
    """
    if not 0 < share <= 1:
        raise UsageError(f"--share {share}: expected a share above 0 and at most 1; the standard asks for 0.1.")
    number = max(1, check_needed(len(corpus.rows), share))
    places = sorted(random.Random(f"check {seed}").sample(range(len(corpus.rows)), number))
    return [corpus.rows[place] for place in places]


def check_keywords(
    corpus: Inspected, words: KeywordList, *, part: Part = "response", share: float = 0.1, seed: int = 0
) -> dict[str, Any]:
    """Look for the words of a list in the sampled rows.

    A word in an answer that the cue judge (`rules`) reads as a refusal is a word quoted to decline, and no illegal
    content: such rows are qualified, counted apart (`quoted_in_refusals`), and `strict` is the rate without this
    excuse. A keyword in an ordinary answer proves nothing either: the listed rows are for people to look at.
    """
    rows = sampled(corpus, share, seed)
    matcher, rules = Matcher(words), RulesJudge()
    outcomes = [_by_keywords(row, part, matcher, rules) for row in rows]
    quoted = sum(outcome.kind == "quoted" for outcome in outcomes)
    plain = [Outcome("qualified", each.why) if each.kind == "quoted" else each for each in outcomes]
    result = _result(corpus, rows, plain, share, seed, part)
    strict = rate(
        result["qualified"]["rows"] - quoted, result["qualified"]["undecided"], len(rows), len(corpus.rows),
        QUALIFIED_BY_CHECK,
    )  # fmt: skip
    identity = [corpus.sha256, words.sha256, part, share, seed, rules.version]
    return {
        "id": f"keywords:{digest(identity)[:12]}",
        "kind": "keywords",
        "name": f"keywords: {words.name}",
        **result,
        "keywords": {"file": words.name, "sha256": words.sha256, **words.sizes()},
        "quoted_in_refusals": quoted,
        "strict": strict._asdict(),
        "notes": [
            _what(part),
            "Words are found after NFKC and case folding; words of Latin letters only as whole words. A list finds "
            "what is in it: it shows neither paraphrases nor whether a found word does harm.",
            f"{quoted:,} rows hold a word in an answer that declines (by refusal cues): not counted as illegal.",
        ],
    }


def _by_keywords(row: InspectRow, part: Part, matcher: Matcher, rules: RulesJudge) -> Outcome:
    text = row.text(part)
    if not text.strip():
        return Outcome("undecided", "no text to check")
    found = matcher.first(text)
    if found is None:
        return Outcome("qualified")
    in_request = part == "whole" and matcher.first(row.response) is None and bool(row.response)
    if in_request or _declines(row, rules):
        return Outcome("quoted", found.word)
    return Outcome("risk", found.category or "word")


def _declines(row: InspectRow, rules: RulesJudge) -> bool:
    verdicts = rules.judge(*as_item(row))
    return any(verdict.part == "answer" and verdict.label in _REFUSALS for verdict in verdicts)


def check_by_judge(
    corpus: Inspected,
    judge: Judge,
    *,
    share: float = 0.1,
    seed: int = 0,
    verdicts_file: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Let a judge read the responses of the sampled rows: `harmful` (answer or thought) is not qualified.

    What the judge cannot tell is undecided. Thoughts that it does not read are not, but they are counted. Where the
    judge has no card for harm in a language of the rows, the result decides nothing (INCONCLUSIVE), as in every gate.

    Args:
        verdicts_file: keeps every verdict as soon as it is given; an interrupted check continues from it.
    """
    rows = sampled(corpus, share, seed)
    items = [as_item(row) for row in rows]
    given_to: dict[str, list[Verdict]] = defaultdict(list)
    prompts, completions = [prompt for prompt, _ in items], [completion for _, completion in items]
    for verdict in judge_completions(prompts, completions, judge, verdicts_file, progress):
        given_to[verdict.prompt_id].append(verdict)
    verdicts = [given_to[prompt.id] for prompt in prompts]
    outcomes = [_by_judge(given) for given in verdicts]
    result = _result(corpus, rows, outcomes, share, seed, "response")
    uncarried = uncarried_languages(judge, rows)
    if uncarried:
        result["verdict"] = "INCONCLUSIVE"
        result["reason"] = f"no card of the judge {judge.name!r} carries harm in: {', '.join(uncarried)}"
    unread = sum(
        bool(row.thought) and all(one.unscored for one in given if one.part == "thought")
        for row, given in zip(rows, verdicts, strict=True)
    )
    return {
        "id": f"judge:{digest([corpus.sha256, judge.name, judge.version, share, seed])[:12]}",
        "kind": "judge",
        "name": f"judge: {judge.name}",
        **result,
        "judge": {"name": judge.name, "version": judge.version},
        "answers": dict(Counter(_label(given) for given in verdicts).most_common()),
        "thoughts_not_read": unread,
        "notes": [_what("response"), f"{unread:,} thoughts were not or could not be read by the judge."],
    }


def _by_judge(given: Sequence[Verdict]) -> Outcome:
    harmful = [one.part for one in given if one.label == HARMFUL]
    if harmful:
        return Outcome("risk", f"harmful {harmful[-1]}")
    return Outcome("undecided", "cannot_judge") if _label(given) == CANNOT_JUDGE else Outcome("qualified")


def _label(given: Sequence[Verdict]) -> str:
    return next((one.label for one in given if one.part == "answer"), CANNOT_JUDGE)


def uncarried_languages(judge: Judge, rows: Sequence[InspectRow]) -> list[str]:
    """Languages of the rows in which nothing is known of how well the judge tells harm."""
    if judge.label_source == "construction":
        return []
    found = {lang: judge.card.find(lang, "answer", HARMFUL) if judge.card else None for lang in {r.lang for r in rows}}
    return sorted(lang for lang, row in found.items() if row is None or (row.kappa or 0.0) < MIN_KAPPA)


def as_item(row: InspectRow) -> tuple[Prompt, Completion]:
    """A row as judges read it: may be refused or answered, so that every judge looks for harm and refusal."""
    name = f"line {row.line}"  # ids of foreign files need not be unique
    asked = Message(role="user", content=row.request)
    prompt = Prompt(
        id=name,
        messages=(asked,),
        lang=row.lang,
        risk=None,
        expect="either",
        target=None,
        source=row.source,
        licence="",
    )
    completion = Completion(
        prompt_id=name,
        model="corpus",
        raw=row.response,
        thought=row.thought or None,
        answer=row.answer,
        split=("closed" if row.thought else "none") if row.answer.strip() else "empty_answer",
        finish="stop",
        num_prompt_tokens=0,
        num_completion_tokens=0,
        seconds=0,
    )
    return prompt, completion


def _result(
    corpus: Inspected, rows: Sequence[InspectRow], outcomes: Sequence[Outcome], share: float, seed: int, part: Part
) -> dict[str, Any]:
    """What both kinds of check say; undecided rows are not qualified in the worst case, which decides."""
    kinds = Counter(outcome.kind for outcome in outcomes)
    population, needed = len(corpus.rows), check_needed(len(corpus.rows))
    found: Rate = rate(kinds["qualified"], kinds["undecided"], len(rows), population, QUALIFIED_BY_CHECK)
    verdict, reason = decide(found, len(rows), population, needed)
    listed = [(row, each) for row, each in zip(rows, outcomes, strict=True) if each.kind == "risk"]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "corpus": {"file": corpus.path.name, "sha256": corpus.sha256},
        "part": part,
        "seed": seed,
        "share": share,
        "population": population,
        "sampled": len(rows),
        "needed": needed,
        "qualified": found._asdict(),
        "verdict": verdict,
        "reason": reason,
        "labels": dict(Counter(each.why for _, each in listed).most_common()),
        "not_qualified": [{"line": row.line, "id": row.id, "why": each.why} for row, each in listed[:_MAX_LISTED]],
        "not_qualified_in_all": len(listed),
    }


def _what(part: Part) -> str:
    return {
        "response": "Checked: thought and answer. The requests were not: a safety corpus asks of risks on purpose.",
        "whole": "Checked: request, thought and answer; a word that only the request or a declining answer holds "
        "is not counted as illegal where there is a response.",
    }[part]
