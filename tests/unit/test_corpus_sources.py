"""Sources of the corpus: what holds for all, and the public sets."""

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safekeel.corpus.sample import Rejected, Sample
from safekeel.corpus.sources import Source, SourceBase, SourcesConfig, licences, open_sources, read_sources
from safekeel.corpus.sources.base import Checked
from safekeel.corpus.sources.licences import benchmarks_of
from safekeel.corpus.sources.pinned import checked_path
from safekeel.corpus.sources.public import LOADERS, open_set
from safekeel.corpus.sources.public_rows import (
    STAR1_RISKS,
    Place,
    UnexpectedRow,
    gsm8k,
    star1_benign,
    star1_risk,
    zh_r1_distill,
)
from safekeel.corpus.sources.public_rows import mmlu as mmlu_row
from safekeel.corpus.sources.raw import RawRow
from safekeel.data.registry import find_set, load_registry
from safekeel.errors import ConfigError, DataError, UsageError
from safekeel.records import Message, Prompt
from safekeel.taxonomy import load_taxonomy

TAXONOMY = load_taxonomy()


def prompt(identifier: str, text: str = "Please tell me about this.", **changes) -> Prompt:
    fields = {
        "id": identifier,
        "messages": (Message(role="user", content=text),),
        "lang": "en",
        "risk": "A.1.h",
        "expect": "refuse",
        "target": None,
        "source": "test",
        "licence": "MIT",
    }
    return Prompt(**(fields | changes))


def sample(identifier: str, pair: str | None = None) -> Sample:
    return Sample(id=identifier, role="risky", prompt=prompt(identifier), pair=pair)


class Fixed(SourceBase):
    """A source of given rows."""

    def __init__(self, name: str, rows: list) -> None:
        super().__init__(name, "MIT")
        self._rows = rows

    def rows(self):
        yield from self._rows


def test_an_empty_source_is_an_error_that_names_it():
    with pytest.raises(DataError, match=r"The source nothing is empty: it has no row\. Take it out"):
        list(Checked(Fixed("nothing", []), None, 0).rows())


def test_a_source_without_usable_rows_lists_the_reasons():
    rows = [Rejected(where=f"f:{n}", reason="broken_line", evidence="no JSON") for n in range(3)]
    with pytest.raises(DataError, match=r"all 3 rows were rejected \(broken_line 3\)\. The first: f:0: no JSON"):
        list(Checked(Fixed("bad", rows), None, 0).rows())


def test_ids_are_unique_within_and_across_sources():
    first, second = Fixed("one", [sample("a"), sample("a"), sample("b")]), Fixed("two", [sample("b"), sample("c")])
    samples, rejected = read_sources([Checked(first, None, 0), Checked(second, None, 0)])
    assert [row.id for row in samples] == ["a", "b", "c"]
    assert [(row.where, row.reason) for row in rejected] == [("one", "duplicate_id"), ("two", "duplicate_id")]


@given(st.integers(1, 30), st.integers(0, 5), st.permutations(range(20)))
@settings(max_examples=60, deadline=None)
def test_a_limit_draws_the_same_twins_in_any_order(limit, seed, order):
    twins = [row for n in range(20) for row in (sample(f"{n:02d}", f"{n:02d}/c"), sample(f"{n:02d}/c", f"{n:02d}"))]
    shuffled = [row for n in order for row in twins[2 * n : 2 * n + 2]]
    drawn = {row.id for row in Checked(Fixed("s", twins), limit, seed).rows()}
    assert drawn == {row.id for row in Checked(Fixed("s", shuffled), limit, seed).rows()}
    assert len(drawn) == limit + limit % 2
    assert all((row.pair in drawn) == (row.id in drawn) for row in twins)


def test_a_limit_says_what_it_left_out_and_depends_on_the_seed():
    rows = [sample(f"{n}") for n in range(50)]
    by_seed = {}
    for seed in (0, 1):
        source = Checked(Fixed("s", rows), 5, seed)
        by_seed[seed] = [row.id for row in source.rows()]
        assert source.notes == [f"5 of 50 samples drawn (limit 5, seed {seed})"]
        assert by_seed[seed] == sorted(by_seed[seed], key=int)  # in the order of the source
    assert by_seed[0] != by_seed[1]


def test_no_source_at_all_and_a_source_twice(tmp_path):
    with pytest.raises(UsageError, match=r"No source at all: set sources\.starter = true"):
        open_sources(SourcesConfig(starter=False), None, TAXONOMY)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.txt").write_text("A line of text.\n")
    files = tuple(f"{tmp_path}/{folder}/x.txt?role=general" for folder in "ab")
    with pytest.raises(
        UsageError, match=r"'file:x\.txt' is named twice; name it once, or give one a name with \?name="
    ):
        open_sources(SourcesConfig(starter=False, files=files), None, TAXONOMY)
    named = (files[0], files[1] + "&name=second")
    assert [s.name for s in open_sources(SourcesConfig(starter=False, files=named), None, TAXONOMY)] == [
        "file:x.txt",
        "second",
    ]


def test_options_for_all_files_and_what_is_said(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"frage": "What is a lease?"}\n')
    config = SourcesConfig(
        starter=False, files=(f"{tmp_path}/x.jsonl",), columns={"prompt": "frage", "role": "general"}
    )
    said: list[str] = []
    samples, _ = read_sources(open_sources(config, None, TAXONOMY), said.append)
    assert samples[0].prompt.messages[0].content == "What is a lease?"
    assert said == ["file:x.jsonl: prompt = column 'frage'"]


def test_a_wrong_name_in_an_exception_is_found():
    with pytest.raises(UsageError, match="No data set 'cevall'. Did you mean 'ceval'".replace(".", r"\.")):
        open_sources(SourcesConfig(allow_licence=("cevall",)), None, TAXONOMY)
    with pytest.raises(UsageError, match=r"allow_benchmarks: no benchmark or set 'advbnch'\. Did you mean 'advbench'"):
        open_sources(SourcesConfig(allow_benchmarks=("advbnch",)), None, TAXONOMY)


def test_the_configuration_is_checked():
    from safekeel.config import build

    with pytest.raises(ConfigError, match="sources.startr: unknown name. Did you mean 'starter'".replace(".", r"\.")):
        build(SourcesConfig, {"startr": True}, "sources")


def test_the_sources_satisfy_the_protocol(tmp_path):
    source: Source = Checked(Fixed("s", [sample("a")]), None, 0)
    assert (source.name, source.licence, source.training_allowed) == ("s", "MIT", True)


def test_every_set_is_a_source_or_is_refused_with_a_reason(tmp_path):
    """No set of the registry falls through: licence, benchmark, test items only, or files that are not here."""
    for data_set in load_registry():
        with pytest.raises((UsageError, DataError)) as caught:
            open_set(data_set.name, tmp_path)
        text = str(caught.value)
        if data_set.role in ("safety", "labels"):
            assert "is for measuring, not for training" in text
            assert f'allow_benchmarks = ["{data_set.name}"]' in text
            assert all(name in text for name in benchmarks_of(data_set).names)
        elif data_set.name not in LOADERS:
            assert "holds test items only, and those are never a source" in text
        elif not data_set.training_allowed:
            assert data_set.licence in text and f'allow_licence = ["{data_set.name}"]' in text
        else:
            assert "safekeel data fetch" in text


def test_every_safety_set_names_the_benchmark_it_would_cost():
    for data_set in load_registry():
        if data_set.role == "safety":
            assert benchmarks_of(data_set).names or data_set.name == "s-eval-full", data_set.name


def test_sets_with_labels_have_no_loader_even_when_allowed(tmp_path):
    with pytest.raises(UsageError, match="xstest-labels has no loader for training"):
        open_set("xstest-labels", tmp_path, allow_benchmarks=("xstest-labels",))


def test_a_benchmark_that_is_given_up_still_needs_its_licence(tmp_path):
    with pytest.raises(UsageError, match=r"The licence of physical-safety \(CC-BY-NC-4\.0\) does not allow training"):
        open_set("physical-safety", tmp_path, allow_benchmarks=("physical-safety",))


def small_set(tmp_path: Path, name: str, file: str, content: str, pinned: bool):
    """A registered set whose file has other bytes, as a user may have it."""
    import hashlib

    data_set = find_set(name)
    path = tmp_path / data_set.folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, "utf-8")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    entry = next(entry for entry in data_set.files if entry.file == file)
    update = {"sha256": digest if pinned else "0" * 64, "git_blob": None}
    return data_set.model_copy(update={"files": (entry.model_copy(update=update),)})


def test_a_changed_file_is_an_error_that_says_so(tmp_path):
    data_set = small_set(tmp_path, "gsm8k", "train.jsonl", "{}", pinned=False)
    with pytest.raises(DataError, match=r"train\.jsonl is not the file of gsm8k \(sha256 .*, expected sha256 0000"):
        checked_path(data_set, data_set.files[0], tmp_path)


def test_excerpts_of_the_registry_are_accepted_and_noted(tmp_path):
    import hashlib

    (tmp_path / "gsm8k").mkdir()
    part = tmp_path / "gsm8k" / "part.jsonl"
    part.write_text('{"question": "?", "answer": "#### 1"}\n')
    data_set = find_set("gsm8k")
    digest = hashlib.sha256(part.read_bytes()).hexdigest()
    entry = data_set.files[0].model_copy(update={"excerpt": "part.jsonl", "excerpt_sha256": digest})
    assert checked_path(data_set, entry, tmp_path) == (part, "part.jsonl: an excerpt of train.jsonl")
    with pytest.raises(DataError, match=r"part\.jsonl is not the file of gsm8k"):
        checked_path(data_set, entry.model_copy(update={"excerpt_sha256": "0" * 64}), tmp_path)


def test_files_without_a_pinned_hash_are_compared_with_the_lock(tmp_path):
    data_set = find_set("zh-r1-distill-110k")
    path = tmp_path / data_set.folder / "distill_r1_110k.jsonl"
    path.parent.mkdir()
    path.write_text('{"input": "一个问题是什么？", "reasoning_content": "想一想。", "content": "答案。", "score": 9}\n')
    source = open_set("zh-r1-distill-110k", tmp_path)
    assert "no hash is pinned; read as it is (sha256" in source.notes[0]
    assert "GSM8K_zh" in source.warnings[0]
    row = next(iter(source.rows()))
    assert isinstance(row, Sample)
    assert (row.role, row.thought, row.answer, row.prompt.meta["score"]) == ("general", "想一想。", "答案。", 9)
    lock = {f"{data_set.folder}/distill_r1_110k.jsonl": {"sha256": "0" * 64}}
    (tmp_path / "safekeel-data.lock.json").write_text(json.dumps(lock))
    with pytest.raises(DataError, match="downloaded as 0000"):
        open_set("zh-r1-distill-110k", tmp_path)


def raw(**values) -> RawRow:
    return RawRow(values, "rows:1")


@pytest.mark.parametrize(
    ("answer", "target"),
    [("1 + 1 = 2\n#### 2", "2"), ("#### 1,234", "1234"), ("#### -3", "-3"), ("#### $1,000.50", "1000.50")],
)
def test_gsm8k_targets(answer, target):
    row = gsm8k(raw(question="How many?", answer=answer), Place(find_set("gsm8k"), "train.jsonl", 7))
    assert (row.id, row.role, row.prompt.expect, row.prompt.target) == ("gsm8k/train/7", "replay", "solve", target)
    assert row.answer == ""  # the model writes its own solution


@pytest.mark.parametrize("answer", ["no mark 5", "#### many", "####"])
def test_gsm8k_rows_without_a_number(answer):
    with pytest.raises(UnexpectedRow, match="expected #### and a number"):
        gsm8k(raw(question="How many?", answer=answer), Place(find_set("gsm8k")))


def test_multiple_choice_rows():
    row = mmlu_row(
        raw(**{"1": "Which?", "2": "one", "3": "two", "4": "three", "5": "four", "6": "B"}),
        Place(find_set("mmlu"), "dev/abstract_algebra_dev.csv", 4),
    )
    assert row.id == "mmlu/dev/abstract_algebra/4"
    assert row.prompt.messages[0].content.split("\n")[:2] == ["Which?", "A. one"]
    assert (row.prompt.expect, row.prompt.target, row.prompt.meta["subject"]) == ("choose", "B", "abstract_algebra")
    with pytest.raises(UnexpectedRow, match="the answer is 'E', expected A, B, C or D"):
        mmlu_row(raw(**{str(n): "x" for n in range(1, 6)}, **{"6": "E"}), Place(find_set("mmlu")))
    with pytest.raises(UnexpectedRow, match="'4' is missing or empty"):
        mmlu_row(raw(**{"1": "q", "2": "a", "3": "b", "5": "d", "6": "A"}), Place(find_set("mmlu")))


@pytest.mark.parametrize(
    ("subjects", "risk"),
    [
        (["Illicit / Criminal Behavior"], "A.1.h"),
        (["Illicit / Criminal Behavior", "Privacy / Personal Data"], "A.4.f"),
        (["Violence / Physical Harm", "Illicit / Criminal Behavior"], "A.1.f"),
        (["Harassment / Hate / Discrimination"], None),
        (["Something new"], None),
        ([], None),
    ],
)
def test_star1_categories(subjects, risk):
    assert star1_risk(subjects) == risk


def test_star1s_map_agrees_with_what_the_benchmarks_call_clear():
    text = Path(licences.__file__).parents[2].joinpath("bench", "safety", "categories.toml").read_text("utf-8")
    clear = {
        name: entry["risk"]
        for table in tomllib.loads(text).values()
        for name, entry in table.items()
        if entry["fit"] == "clear"
    }
    same = {
        "Illicit / Criminal Behavior": "Non-violent crimes",
        "Privacy / Personal Data": "privacy_violation",
        "Misinformation / Disinformation": "misinformation_disinformation",
        "Self-Harm": "self-harm",
        "Sexual / Adult": "Sexual/Adult content",
        "Violence / Physical Harm": "Violence",
    }
    assert {name: clear[theirs] for name, theirs in same.items()} == {name: STAR1_RISKS[name] for name in same}
    assert set(STAR1_RISKS) - set(same) == {"Intellectual Property", "Harassment / Hate / Discrimination"}
    assert STAR1_RISKS["Intellectual Property"] == "A.3.a"


def test_star1_benign_and_zh_r1_by_their_documented_schema():
    row = star1_benign(
        raw(id="3", question="How do I kill a process?", response="<think>\nA computer.\n</think>\n\nUse kill."),
        Place(find_set("star1-benign")),
    )
    assert (row.role, row.thought, row.answer, row.prompt.risk) == ("counter", "A computer.", "Use kill.", None)
    with pytest.raises(UnexpectedRow, match="never closes it"):
        star1_benign(raw(id="3", question="q", response="<think>\nA"), Place(find_set("star1-benign")))
    with pytest.raises(UnexpectedRow, match="'reasoning_content' is missing or empty"):
        zh_r1_distill(raw(input="问", content="答"), Place(find_set("zh-r1-distill-110k")))
