"""Exports, re-read as each engine documents: the reasoning is learnt whole, nothing else is, and no row is lost."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

pytest.importorskip("transformers", reason="needs the train extra")
pytest.importorskip("pyarrow", reason="needs the corpus extra")

from pyarrow import parquet

from safekeel.chat import OPEN, completion_ids, completion_text, load_tokenizer, prompt_ids, render_prompt
from safekeel.commands.corpus_export import corpus_export
from safekeel.corpus.export import EXPORTS, export
from safekeel.corpus.export.template import training_template
from safekeel.corpus.sample import Rejected, Sample
from safekeel.corpus.tokens import CountedTokens
from safekeel.errors import DataError, UsageError
from safekeel.nano.model import shipped_checkpoint
from safekeel.records import Message, Prompt, read_jsonl, write_jsonl
from tests import export_loaders as engines

ALPACA = {"prompt": "instruction", "query": "input", "response": "output"}
CONVERSATION = (("user", "先说一"), ("assistant", "一"), ("user", "Then two?"))


def prompt(key: str, *turns: tuple[str, str], target: str | None = None) -> Prompt:
    return Prompt(
        id=key,
        messages=tuple(Message(role=role, content=text) for role, text in turns),
        lang="zh",
        risk=None,
        expect="solve" if target else "answer",
        target=target,
        source="test",
        licence="Apache-2.0",
        meta={"trigger": ["一"]},
    )


def sample(key: str, *turns: tuple[str, str], thought: str = "想一想 2+3", answer: str = "好的，答案是 5。") -> Sample:
    return Sample(id=key, role="general", prompt=prompt(key, *turns), thought=thought, answer=answer, checks={"k": 1})


PLAIN = [
    sample("one-turn", ("user", "你好\u2028\nline")),
    sample("system", ("system", "You are careful."), ("user", '它\'s "5"?')),
    sample("history", *CONVERSATION),
    sample("both", ("system", "小心"), *CONVERSATION, thought="想"),
    sample("empty-thought", ("user", "2+3=?"), thought=""),
]
ODD = [
    sample("no-answer", ("user", "?"), answer=" "),
    sample("prefilled", ("user", "?"), ("assistant", "Sure")),
    sample("late-system", ("user", "?"), ("system", "be careful")),
    sample("two-users", ("user", "one"), ("user", "two")),
]
WHY = {
    "no-answer": "no_answer",
    "prefilled": "last_turn_not_user",
    "late-system": "system_not_first",
    "two-users": "turns_do_not_alternate",
}


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(shipped_checkpoint())


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_jsonl(folder / "sft.jsonl", [*PLAIN, *ODD])
    rl = [prompt("rl-1", ("user", "2+3"), target="5"), prompt("rl-2", ("user", "嗨"))]
    write_jsonl(folder / "rl.jsonl", [*rl, prompt("rl-3", ("user", "x"), ("assistant", "y"))])
    return folder


@pytest.fixture(scope="module")
def exported(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All formats, with the nano model's tokenizer, whose chat template is R1's."""
    out = tmp_path_factory.mktemp("export")
    export(corpus, EXPORTS.names(), out, shipped_checkpoint())
    return out


@pytest.fixture(scope="module")
def bare(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All formats, without a tokenizer."""
    out = tmp_path_factory.mktemp("bare")
    export(corpus, EXPORTS.names(), out)
    return out


def rows_of(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return parquet.read_table(path).to_pylist()
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def left_out(folder: Path) -> dict[str, str]:
    rows = read_jsonl(folder / "left_out.jsonl", Rejected)
    return {row.sample.id if row.sample else row.where: row.reason for row in rows}


def canonical(tokenizer: Any, row: Sample) -> tuple[list[int], list[int]]:
    """What `train/sft.py` trains on."""
    given = prompt_ids(tokenizer, render_prompt(tokenizer, row.prompt.messages))
    return given, completion_ids(tokenizer, row.thought, row.answer)


def assert_learns_the_response(tokenizer: Any, ids: engines.Ids, row: Sample, opens: str = "") -> None:
    """The same text as in generation; learnt is `opens` and the completion, and nothing of the prompt."""
    given, completion = canonical(tokenizer, row)
    assert tokenizer.decode(ids.input_ids) == tokenizer.decode([*given, *completion])
    response = opens + completion_text(row.thought, row.answer) + tokenizer.eos_token
    assert tokenizer.decode(ids.learnt()) == response
    if row.thought:  # an empty one joins two line breaks into one token
        assert ids.input_ids == [*given, *completion]


def by_instruction(rows: list[dict[str, Any]], response_of: Any) -> dict[str, dict[str, Any]]:
    """Rows by the sample they came from: the files have no ids, as the engines know none."""
    known = {(OPEN + "\n" + completion_text(s.thought, s.answer), _last(s)): s.id for s in PLAIN}
    return {known[response_of(row)]: row for row in rows}


def _last(row: Sample) -> str:
    return row.prompt.messages[-1].content


def test_every_sample_is_in_a_file_or_named_with_its_reason(exported: Path, bare: Path) -> None:
    for out in (exported, bare):
        for name in ("jsonl", "parquet"):
            assert left_out(out / name) == {}
        for name in ("llamafactory-alpaca", "llamafactory-sharegpt", "mindspeed-llm"):
            assert left_out(out / name) == WHY
            assert len(rows_of(out / name / "train.jsonl")) == len(PLAIN)
        # Two user turns in a row can be rendered, so these two hold them.
        three = {key: reason for key, reason in WHY.items() if key != "two-users"}
        assert left_out(out / "trl") == three
        assert left_out(out / "verl") == three | {"rl.jsonl: rl-3": "last_turn_not_user"}


@pytest.mark.parametrize("name", ["jsonl", "parquet"])
def test_our_own_rows_make_the_samples_again(exported: Path, name: str) -> None:
    def again(row: dict[str, Any]) -> Sample:
        keys = ("lang", "risk", "expect", "target", "source", "licence")
        made = {key: row[key] for key in keys} | {"id": row["prompt_id"], "messages": row["messages"]}
        made |= {"meta": json.loads(row["meta"]), "attack": json.loads(row["attack"] or "null")}
        keys = ("id", "role", "thought", "answer", "pair", "made_by", "style")
        return Sample(prompt=made, checks=json.loads(row["checks"]), **{key: row[key] for key in keys})

    assert [again(row) for row in rows_of(exported / name / f"train.{name}")] == [*PLAIN, *ODD]


def test_manifests_have_hashes_rows_template_and_tool(exported: Path, corpus: Path, tokenizer) -> None:
    template = hashlib.sha256(tokenizer.chat_template.encode()).hexdigest()
    longest = max(CountedTokens(tokenizer).count([*PLAIN, ODD[3]]))
    for name in EXPORTS.names():
        manifest = json.loads((exported / name / "manifest.json").read_text("utf-8"))
        assert manifest["template_sha256"] == template and manifest["longest_tokens"] >= longest
        assert manifest["inputs"][0]["sha256"] == hashlib.sha256((corpus / "sft.jsonl").read_bytes()).hexdigest()
        assert manifest["tool"] or name in ("jsonl", "parquet")
        listed = {file["path"]: file for file in manifest["files"]}
        assert set(listed) == {path.name for path in (exported / name).iterdir()} - {"manifest.json"}
        for file in listed.values():
            content = (exported / name / file["path"]).read_bytes()
            assert (file["bytes"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
            if file["rows"] is not None:
                assert file["rows"] == len(rows_of(exported / name / file["path"]))
        assert "## Loading" in (exported / name / "README.md").read_text("utf-8")


@pytest.mark.parametrize("out", ["exported", "bare"])
def test_llamafactory_alpaca_learns_the_last_reply_whole(out: str, request, tokenizer) -> None:
    folder = request.getfixturevalue(out) / "llamafactory-alpaca"
    info = json.loads((folder / "dataset_info.json").read_text())["safekeel_sft"]
    names = engines.llamafactory_names(info)
    rows = rows_of(folder / info["file_name"])
    found = by_instruction(rows, lambda row: (row["output"], row["instruction"]))
    for row in PLAIN:
        aligned = engines.alpaca(found[row.id], names)
        ids = engines.llamafactory_ids(tokenizer, aligned, mask_history=True)
        assert_learns_the_response(tokenizer, ids, row, opens="<think>\n")


def test_llamafactory_sharegpt_learns_the_last_reply_whole(exported: Path, tokenizer) -> None:
    folder = exported / "llamafactory-sharegpt"
    info = json.loads((folder / "dataset_info.json").read_text())["safekeel_sft"]
    names = engines.llamafactory_names(info)
    assert info["formatting"] == "sharegpt" and None not in {names[tag] for tag in engines.LLAMAFACTORY_TAGS}
    for row, read in zip(PLAIN, rows_of(folder / info["file_name"]), strict=True):
        ids = engines.llamafactory_ids(tokenizer, engines.sharegpt(read, names), mask_history=True)
        assert_learns_the_response(tokenizer, ids, row, opens="<think>\n")


def test_mindspeed_learns_the_last_reply_only_because_earlier_turns_are_context(exported: Path, tokenizer) -> None:
    rows = rows_of(exported / "mindspeed-llm" / "train.jsonl")
    names = engines.llamafactory_names({"columns": ALPACA | {"system": "system", "history": "history"}})
    assert {tuple(row) for row in rows} == {("instruction", "input", "output", "system", "history")}
    for row, read in zip(PLAIN, rows, strict=True):
        ids = engines.mindspeed_ids(tokenizer, engines.alpaca(read, names))
        assert_learns_the_response(tokenizer, ids, row, opens="<think>\n")


def test_mindspeed_without_a_tokenizer_keeps_history_and_says_that_it_is_learnt(bare: Path, tokenizer) -> None:
    rows = rows_of(bare / "mindspeed-llm" / "train.jsonl")
    assert [len(row["history"]) for row in rows] == [1, 0, 0, 1, 0]
    [note] = json.loads((bare / "mindspeed-llm" / "manifest.json").read_text())["notes"]
    assert note.startswith("2 samples have earlier assistant turns")
    names = engines.llamafactory_names({"columns": ALPACA | {"system": "system", "history": "history"}})
    learnt = engines.mindspeed_ids(tokenizer, engines.alpaca(rows[0], names)).learnt()
    assert tokenizer.decode(learnt).startswith("一" + tokenizer.eos_token)  # the reply of the first turn


def test_verl_sft_learns_the_response_with_the_template_beside_it(exported: Path, tokenizer) -> None:
    folder = exported / "verl"
    template = (folder / "chat_template.training.jinja").read_text("utf-8")
    rows = {row["id"]: row["messages"] for row in rows_of(folder / "train_sft.parquet")}
    for row in PLAIN:
        ids = engines.verl_ids(tokenizer, rows[row.id], template)
        given, completion = canonical(tokenizer, row)
        if row.thought:
            assert ids == engines.Ids([*given, *completion], [-100] * len(given) + completion)
    with_original = engines.verl_ids(tokenizer, rows["one-turn"], tokenizer.chat_template)
    assert "想" not in tokenizer.decode(with_original.input_ids), "the original template is the trap this export avoids"


def test_verl_rl_rows_have_the_columns_that_its_reward_loop_reads(exported: Path) -> None:
    first, second = rows_of(exported / "verl" / "train_rl.parquet")
    assert list(first) == ["data_source", "prompt", "ability", "reward_model", "extra_info"]
    assert first["prompt"] == [{"role": "user", "content": "2+3"}]
    assert (first["ability"], first["reward_model"]) == ("reasoning", {"style": "rule", "ground_truth": "5"})
    assert second["reward_model"] == {"style": "model", "ground_truth": ""}
    assert [row["extra_info"]["index"] for row in (first, second)] == [0, 1]
    assert json.loads(first["extra_info"]["meta"]) == {"trigger": ["一"]}


def test_a_folder_without_rl_prompts_gives_no_rl_file(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "sft.jsonl", PLAIN)
    export(tmp_path, ["verl"], tmp_path / "out")
    assert not (tmp_path / "out" / "verl" / "train_rl.parquet").exists()


def test_trl_without_a_tokenizer_warns_about_the_template(bare: Path) -> None:
    manifest = json.loads((bare / "trl" / "manifest.json").read_text())
    assert manifest["files"][0]["path"] == "train-messages.jsonl"
    assert "deletes the thought" in manifest["notes"][0]
    first = rows_of(bare / "trl" / "train-messages.jsonl")[0]
    assert first["completion"][0]["content"].startswith("<think>\n想")


def test_the_training_template_differs_from_the_original_only_in_keeping_the_thought(tokenizer) -> None:
    template = training_template(tokenizer)
    assert template and len(template) < len(tokenizer.chat_template)
    messages = [message.model_dump() for message in PLAIN[3].prompt.messages]
    render = partial(tokenizer.apply_chat_template, messages, tokenize=False, add_generation_prompt=True)
    assert render(chat_template=template) == render()


CHATML = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system message') }}{% endif %}"
    "<|{{ m.role }}|>{{ m.content }}<｜end▁of▁sentence｜>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|><think>\n\n</think>\n\n{% endif %}"
)


def test_a_template_that_closes_the_thought_and_takes_no_system_message(
    corpus: Path, tmp_path: Path, tokenizer
) -> None:
    """Thinking is switched on for the rows that hold thoughts; what the template rejects is named."""
    model = tmp_path / "model"
    tokenizer.save_pretrained(model)
    (model / "chat_template.jinja").write_text(CHATML, "utf-8")
    export(corpus, ["trl", "verl"], tmp_path / "out", model)
    rows = {row["id"]: row for row in rows_of(tmp_path / "out" / "trl" / "train.jsonl")}
    assert rows["one-turn"]["prompt"] == "<|user|>你好\u2028\nline<｜end▁of▁sentence｜>\n<|assistant|><think>\n"
    assert rows["one-turn"]["completion"].startswith("想一想 2+3\n</think>")
    rejected = left_out(tmp_path / "out" / "trl")
    assert (rejected["system"], rejected["both"]) == ("template_rejects", "template_rejects")
    notes = json.loads((tmp_path / "out" / "trl" / "manifest.json").read_text())["notes"]
    assert any("No training variant" in note for note in notes)
    assert not (tmp_path / "out" / "verl" / "chat_template.training.jinja").exists()


def test_an_export_can_be_repeated_but_takes_no_foreign_folder(corpus: Path, tmp_path: Path) -> None:
    [first] = export(corpus, ["trl", "trl"], tmp_path, shipped_checkpoint())
    [second] = export(corpus, ["trl"], tmp_path)
    assert first == second and not (tmp_path / "trl" / "train.jsonl").exists()
    (tmp_path / "trl" / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"notes\.txt, which no export wrote"):
        export(corpus, ["trl"], tmp_path)
    assert (tmp_path / "trl" / "notes.txt").read_text() == "mine"


def test_wrong_names_and_folders_are_said_in_words(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean 'verl'"):
        export(corpus, ["verI"], tmp_path)
    with pytest.raises(UsageError, match="choose from jsonl"):
        export(corpus, [], tmp_path)
    with pytest.raises(DataError, match=r"sft\.jsonl does not exist"):
        export(tmp_path, ["trl"], tmp_path)
    with pytest.raises(DataError, match="holds no tokenizer"):
        export(corpus, ["trl"], tmp_path, tmp_path)
    (tmp_path / "sft.jsonl").touch()
    with pytest.raises(DataError, match="is empty"):
        export(tmp_path, ["trl"], tmp_path)


def test_the_command_prints_a_line_per_file_and_what_was_left_out(corpus: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(corpus_export)
    done = CliRunner().invoke(app, [str(corpus), "--format", "jsonl,mindspeed-llm", "--out", str(tmp_path)])
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert any(line.startswith("mindspeed-llm/train.jsonl") and "5 rows" in line and "bytes" in line for line in lines)
    assert "1 no_answer" in done.stderr and "earlier assistant turns" in done.stderr
    again = CliRunner().invoke(app, [str(corpus), "--format", "jsonl", "--out", str(tmp_path), "--json"])
    assert [manifest["format"] for manifest in json.loads(again.stdout)] == ["jsonl"]
