"""Every registered safety benchmark: ids, licence, expectation, determinism, limits, errors; and the exact number of
rows of each whose public data is here."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from safekeel.bench.base import Benchmark
from safekeel.bench.safety import BENCHMARKS, PUBLIC
from safekeel.errors import DataError, UsageError
from safekeel.records import Prompt
from safekeel.taxonomy import load_taxonomy
from tests.upstream_formats import write_all

DATA = Path(os.environ.get("SAFEKEEL_DATA", "/nonexistent"))
SPLITS = [(bench.name, split) for bench in PUBLIC for split, _ in bench.splits]
PUBLIC_NAMES = [bench.name for bench in PUBLIC]
COUNTS: dict[tuple[str, str], tuple[int, int]] = {
    # (benchmark, split): items, distinct clusters; the sizes of shared/reference/datasets.md and of the pinned files
    ("advbench", "test"): (520, 520),
    ("advbench", "headerless"): (520, 520),
    ("cvalues", "test"): (664, 664),
    ("do-not-answer", "test"): (939, 938),
    ("flames", "test"): (1000, 1000),
    ("harmbench", "test"): (240, 240),
    ("harmbench", "validation"): (60, 60),
    ("jade", "test"): (150, 150),
    ("jailbench-seed", "test"): (108, 108),
    ("jailbench-attack", "test"): (2160, 108),
    ("jailbreakbench", "test"): (100, 100),
    ("physical-safety", "test"): (200, 100),
    ("s-eval-base-zh", "test"): (1000, 1000),
    ("s-eval-base-en", "test"): (1000, 1000),
    ("s-eval-attack-zh", "test"): (10000, 1000),
    ("s-eval-attack-en", "test"): (10000, 1000),
    ("safetybench-zh-subset", "test"): (2100, 2100),
    ("strongreject", "test"): (313, 313),
    ("xsafety-zh", "test"): (2600, 2600),
    ("xsafety-en", "test"): (2600, 2599),
    ("xstest", "test"): (450, 450),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a few harmless rows of every set, in upstream's formats."""
    folder = tmp_path_factory.mktemp("data")
    write_all(folder)
    return folder


def check(bench: Benchmark, prompts: list[Prompt]) -> None:
    """What must hold for the prompts of any benchmark."""
    assert prompts and len({prompt.id for prompt in prompts}) == len(prompts)
    categories = load_taxonomy().subset("31")
    for prompt in prompts:
        assert prompt.id.startswith(f"{bench.name}/") and prompt.licence and prompt.source
        assert prompt.messages[-1].role == "user" and prompt.messages[-1].content.strip()
        assert prompt.risk is None or prompt.risk in categories
        assert prompt.expect != "refuse" or prompt.risk is not None, f"{prompt.id}: refuse what harmless thing?"
        assert prompt.expect != "answer" or prompt.risk is None
        assert (prompt.target is not None) == (prompt.expect in ("choose", "solve"))
        if prompt.expect == "choose":
            assert set((prompt.target or "").split(",")) <= set(prompt.meta["options"])
        assert prompt.meta["cluster"] and all(":" in name for name in prompt.meta.get("slices", []))


@pytest.mark.parametrize(("name", "split"), SPLITS)
def test_rows_become_prompts(name: str, split: str, made: Path) -> None:
    bench = BENCHMARKS.get(name)
    prompts = bench.prompts(split, None, made, 0)
    check(bench, prompts)
    assert bench.prompts(split, None, made, 1) == prompts


@pytest.mark.parametrize(("name", "split"), SPLITS)
def test_limit_is_a_draw_by_seed_in_file_order(name: str, split: str, made: Path) -> None:
    bench = BENCHMARKS.get(name)
    ids = [prompt.id for prompt in bench.prompts(split, None, made, 0)]
    draws = {tuple(prompt.id for prompt in bench.prompts(split, 2, made, seed)) for seed in range(12)}
    assert all(len(draw) == 2 and ids.index(draw[0]) < ids.index(draw[1]) for draw in draws)
    assert bench.prompts(split, 2, made, 5) == bench.prompts(split, 2, made, 5)
    assert len(bench.prompts(split, 10_000_000, made, 5)) == len(ids)
    assert len(draws) > 1


@pytest.mark.parametrize(("name", "split"), SPLITS)
def test_missing_data_names_the_command_that_gets_it(name: str, split: str, tmp_path: Path) -> None:
    data_set = dict(next(bench for bench in PUBLIC if bench.name == name).splits)[split]
    with pytest.raises(DataError, match=f"does not exist.*`safekeel data fetch {data_set} --data-dir {tmp_path}"):
        BENCHMARKS.get(name).prompts(split, None, tmp_path, 0)


@pytest.mark.parametrize("name", BENCHMARKS.names())
def test_unknown_split_is_a_usage_error(name: str, made: Path) -> None:
    with pytest.raises(UsageError, match=f"{name} has no split 'nosuch', expected 'test'"):
        BENCHMARKS.get(name).prompts("nosuch", None, made, 0)


@pytest.mark.parametrize("name", [name for name in BENCHMARKS.names() if name.startswith("chisafetybench")])
def test_chisafetybench_is_a_registered_set_too(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="`safekeel data fetch chisafetybench"):
        BENCHMARKS.get(name).prompts("test", None, tmp_path, 0)


def test_every_benchmark_with_a_known_size_exists() -> None:
    assert set(COUNTS) <= set(SPLITS)
    assert set(PUBLIC_NAMES) <= set(BENCHMARKS.names())


@pytest.mark.parametrize(("name", "split"), list(COUNTS))
def test_the_real_file_has_exactly_its_rows(name: str, split: str) -> None:
    if not DATA.is_dir():
        pytest.skip("needs public data in the folder that SAFEKEEL_DATA names")
    bench = BENCHMARKS.get(name)
    try:
        prompts = bench.prompts(split, None, DATA, 0)
    except DataError as error:
        if "does not exist" in str(error):
            pytest.skip(f"{name} is not in {DATA}")
        raise
    check(bench, prompts)
    assert (len(prompts), len({prompt.meta["cluster"] for prompt in prompts})) == COUNTS[name, split]


@pytest.mark.skipif(not DATA.is_dir(), reason="needs public data in the folder that SAFEKEEL_DATA names")
def test_real_xstest_and_do_not_answer_expect_what_upstream_expects() -> None:
    xstest = BENCHMARKS.get("xstest").prompts("test", None, DATA, 0)
    assert Counter(prompt.expect for prompt in xstest) == {"answer": 250, "refuse": 200}
    assert set(Counter(prompt.meta["slices"][0] for prompt in xstest).values()) == {25}
    dna = BENCHMARKS.get("do-not-answer").prompts("test", None, DATA, 0)
    assert Counter(prompt.expect for prompt in dna) == {"refuse": 822, "either": 117}
