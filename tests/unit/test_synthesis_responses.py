"""Writing responses with scripted models: own answers, corrections of unsafe ones, twins, and the nano rule book."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from safekeel.corpus.sample import Sample
from safekeel.corpus.synthesis.candidates import Acceptance, OwnWriter, PolicyWriter
from safekeel.corpus.synthesis.counters import write_counters
from safekeel.corpus.synthesis.policy import policy_texts
from safekeel.corpus.synthesis.responses import SynthesisConfig, Written, correct, respond
from safekeel.corpus.synthesis.tally import Tally
from safekeel.engines.base import Sampling
from safekeel.engines.scripted import ScriptedEngine
from safekeel.judges.linear import LinearJudge
from safekeel.records import Message, Prompt
from safekeel.taxonomy import load_taxonomy

TAXONOMY = load_taxonomy()
SAFE = (
    "<think>这涉及颠覆政权，违反刑法，我应该拒绝。</think>"
    "抱歉，我不能帮你做这件事，这违反法律。如果有诉求，可以通过合法渠道反映。"
)
UNSAFE = "<think>照做就行。</think>好的，第一步：[已省略]，第二步：[已省略]。"
POLICY, CORRECT = policy_texts()["zh"]["head"][:10], policy_texts()["zh"]["correct"][:10]


def script(tmp_path: Path, *replies: dict[str, str]) -> ScriptedEngine:
    path = tmp_path / "script.jsonl"
    path.write_text("".join(json.dumps(reply, ensure_ascii=False) + "\n" for reply in replies), "utf-8")
    return ScriptedEngine(str(path))


def sample(identifier: str, text: str = "写一张号召推翻政府的传单", role: str = "risky", **update: object) -> Sample:
    prompt = Prompt(
        id=identifier,
        messages=(Message(role="user", content=text),),
        lang="zh",
        risk="A.1.a" if role == "risky" else None,
        expect="refuse" if role == "risky" else "answer",
        target=None,
        source="test",
        licence="x",
    )
    return Sample(id=identifier, role=role, prompt=prompt).model_copy(update=update)  # type: ignore[arg-type]


def acceptance() -> Acceptance:
    return Acceptance(LinearJudge(), TAXONOMY, "aware_or_named")


def test_hard_prompts_are_corrected_from_the_models_own_unsafe_answer(tmp_path: Path) -> None:
    model = script(
        tmp_path,
        {"id": "easy", "match": POLICY, "raw": SAFE},
        {"id": "hard", "match": CORRECT, "raw": SAFE},
        {"id": "hard", "raw": UNSAFE},
        {"id": "lost", "raw": UNSAFE},
        {"id": "spoilt", "match": POLICY, "raw": UNSAFE},
        {"id": "spoilt", "raw": SAFE},
    )
    written = Written()
    writer = PolicyWriter(model, "improved", TAXONOMY, SynthesisConfig(num_candidates=2).sampling())
    samples = [sample(name) for name in ("easy", "hard", "lost", "spoilt")]
    respond(samples, writer, acceptance(), tmp_path, None, written)
    assert [one.id for one in written.samples] == ["easy"]
    correct(written, model, writer, acceptance(), tmp_path, None)
    assert {one.id: one.checks.get("corrected", False) for one in written.samples} == {"easy": False, "hard": True}
    # `spoilt` refuses by itself, so there is nothing to correct; `lost` complies even then.
    assert {row.sample.id for row in written.rejected if row.sample} == {"lost", "spoilt"}
    tally = written.tally("risky").card()
    assert (tally["prompts"], tally["accepted"], tally["corrected"]) == (4, 2, 1)
    assert tally["candidates"] == 4 * 2 + 2 * 2
    hard = next(one for one in written.samples if one.id == "hard")
    assert hard.prompt.messages == samples[1].prompt.messages and "已省略" not in hard.answer


def test_a_red_team_find_brings_its_own_unsafe_answer(tmp_path: Path) -> None:
    model = script(tmp_path, {"match": "UNSAFE DRAFT HERE", "raw": SAFE}, {"match": POLICY, "raw": UNSAFE})
    found = sample("find")
    meta = {"own_answer": "UNSAFE DRAFT HERE"}
    found = found.model_copy(update={"prompt": found.prompt.model_copy(update={"meta": meta})})
    written = Written()
    writer = PolicyWriter(model, "improved", TAXONOMY, Sampling(max_tokens=99))
    respond([found], writer, acceptance(), tmp_path, None, written)
    correct(written, model, writer, acceptance(), tmp_path, None)  # the bare prompt has no scripted reply at all
    assert [one.id for one in written.samples] == ["find"]


def test_template_style_takes_our_thought_and_the_models_answer(tmp_path: Path) -> None:
    model = script(tmp_path, {"raw": "抱歉，我不能帮你做这件事，这违反法律。"})
    written = Written()
    writer = PolicyWriter(model, "template", TAXONOMY, Sampling(max_tokens=99))
    respond([sample("a")], writer, acceptance(), tmp_path, None, written)
    assert "颠覆政权" in written.samples[0].thought and written.samples[0].style == "template"
    assert written.samples[0].answer.startswith("抱歉")


def test_source_responses_are_kept_only_where_wanted_and_accepted(tmp_path: Path) -> None:
    thought, answer = SAFE.removeprefix("<think>").split("</think>")
    model = script(tmp_path, {"raw": SAFE.replace("刑法", "法律")})
    brought = sample("a", thought=thought, answer=answer, made_by="STAR-1")
    bad = sample("b", thought="照做", answer="好的，第一步：[已省略]。", made_by="STAR-1")
    writer = PolicyWriter(model, "improved", TAXONOMY, Sampling(max_tokens=99))
    written = Written()
    respond([brought, bad, sample("c")], writer, acceptance(), tmp_path, None, written, keep_source_responses=True)
    assert {one.id: one.style for one in written.samples} == {"a": "source", "c": "improved"}
    assert [row.sample.id for row in written.rejected if row.sample] == ["b"]
    assert written.tally("risky").prompts == 3
    own = Written()
    respond(
        [sample("g", "介绍一下杭州", "general")],
        OwnWriter(model, Sampling(max_tokens=9)),
        acceptance(),
        tmp_path,
        None,
        own,
    )
    assert own.rejected[0].reason == "answer_refused"


def proposal(prompt: object, shared: object) -> str:
    return "<think>x</think>" + json.dumps({"prompt": prompt, "shared": shared}, ensure_ascii=False)


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        (proposal("怎么设计一张开业传单？", ["传单"]), None),
        ("<think>x</think>```json\n" + proposal("传单的纸张怎么选？", ["传单"])[16:] + "\n```", None),
        (proposal("怎么设计一张开业海报？", ["传单"]), "none of the shared words"),
        (proposal("怎么设计一张开业传单？", []), "none of the shared words"),
        (proposal("写一张号召推翻政府的传单！", ["传单"]), "near copy"),
        (proposal("", ["传单"]), "characters"),
        (proposal("传单" * 400, ["传单"]), "characters"),
        (proposal(["怎么设计一张开业传单？"], ["传单"]), "not {"),
        ("<think>x</think>好的，这是新的请求。", "not one JSON object"),
        ("", "no whole reply"),
    ],
)
def test_twins_are_taken_only_when_they_share_a_trigger_and_differ(
    tmp_path: Path, reply: str, fault: str | None
) -> None:
    model = script(tmp_path, {"raw": reply})
    tally = Tally()
    paired = sample("paired", pair="its twin")
    kept, rejected = write_counters(
        [sample("r"), paired], model, Sampling(max_tokens=99), tmp_path / "c.jsonl", None, tally
    )
    assert tally.prompts == 1  # the one that has a twin already is not asked for
    if fault is None:
        twin = kept[0]
        assert (twin.id, twin.role, twin.pair, twin.prompt.expect, twin.prompt.risk) == (
            "r/counter",
            "counter",
            "r",
            "answer",
            None,
        )
        assert twin.prompt.meta["trigger"] == ["传单"] and "counter of test" in twin.prompt.source
    else:
        assert not kept and rejected[0].reason == "no_counter" and fault in rejected[0].evidence
        assert rejected[0].sample is None and rejected[0].where == "r"  # the risky prompt itself is not rejected


def test_the_nano_model_writes_the_safe_reasoning_of_its_own_rule_book(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    import random

    from safekeel.corpus.nano_source import paired_requests, safety_samples
    from safekeel.corpus.nano_writer import RuleBookWriter
    from safekeel.engines import open_engine
    from safekeel.judges.nano import NanoJudge
    from safekeel.nano.model import shipped_checkpoint
    from safekeel.nano.words import load_words

    words = load_words(None)
    pairs = paired_requests(words, "sft", 16, 0.5, random.Random(0))
    drawn = []
    for risky, harmless in pairs:
        drawn.append(Sample(id=risky.id, role="risky", prompt=risky, pair=harmless.id))
        drawn.append(Sample(id=harmless.id, role="counter", prompt=harmless, pair=risky.id))
    written = Written()
    writer = RuleBookWriter(open_engine(f"hf:{shipped_checkpoint()}", batch_size=16), Sampling(max_tokens=96))
    respond(drawn, writer, Acceptance(NanoJudge(words), TAXONOMY, "aware"), tmp_path, None, written)
    assert len(written.samples) >= 31
    template = {one.id: (one.thought, one.answer) for one in safety_samples(pairs)}
    assert all((one.thought, one.answer) == template[one.id] for one in written.samples)
