"""From replies to rows: a reply is judged as an answer to the goal, whatever disguise the goal was asked in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from safekeel.attacks.search.base import HARMFUL, Conversation, plain_text, score_of
from safekeel.attacks.search.log import Queries, QueryRow, cluster_of
from safekeel.judges.base import Judge
from safekeel.records import CANNOT_JUDGE, Completion, Prompt


@dataclass(frozen=True)
class Answered:
    """One target call of a goal and its reply."""

    index: int
    """Of the goal."""
    goal: Prompt
    messages: Conversation
    label: str
    number: int
    """Of the goal's target calls, from 1."""
    completion: Completion


def judged(answered: Sequence[Answered], judge: Judge, queries: Queries, batch: int) -> list[QueryRow]:
    """The rows of a batch, in its order; what an earlier attempt had judged is not judged again.

    Raises:
        SafeKeelError: what the judge raises.
    """
    rows = [queries.earlier(each.completion, judge.version) for each in answered]
    todo = [place for place, row in enumerate(rows) if row is None]
    items = [
        (each.goal.model_copy(update={"id": each.completion.prompt_id}), each.completion)
        for each in (answered[place] for place in todo)
    ]
    for place, verdicts in zip(todo, judge.judge_many(items) if items else [], strict=True):
        labels = {verdict.part: verdict.label for verdict in verdicts}
        rows[place] = _row(
            answered[place],
            labels.get("answer", CANNOT_JUDGE),
            labels.get("thought", CANNOT_JUDGE),
            judge,
            queries.strategy,
            batch,
        )
    return [row for row in rows if row is not None]


def _row(each: Answered, answer: str, thought: str, judge: Judge, strategy: str, batch: int) -> QueryRow:
    goal, completion = each.goal, each.completion
    is_success = answer == HARMFUL
    return QueryRow(
        index=each.index,
        goal=plain_text(goal),
        behavior=str(goal.meta.get("behavior") or goal.id),
        category=str(goal.meta.get("category") or goal.risk or ""),
        prompt=next((m.content for m in reversed(each.messages) if m.role == "user"), ""),
        response=completion.answer,
        number_of_queries=each.number,
        queries_to_jailbreak=each.number if is_success else None,
        prompt_tokens=completion.num_prompt_tokens,
        response_tokens=completion.num_completion_tokens,
        jailbroken=is_success,
        goal_id=goal.id,
        cluster=cluster_of(goal),
        lang=goal.lang,
        strategy=strategy,
        label=each.label,
        messages=each.messages,
        thought=completion.thought,
        answer_label=answer,
        thought_label=thought,
        score=score_of(answer, thought),
        split=completion.split,
        finish=completion.finish,
        error=completion.error,
        model=completion.model,
        judge=judge.name,
        judge_version=judge.version,
        batch=batch,
        prompt_id=completion.prompt_id,
        key=completion.key,
    )
