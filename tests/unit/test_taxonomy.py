"""The TC260 taxonomy is complete and consistent, and a broken one is refused with a reason."""

from __future__ import annotations

from importlib import resources

import pytest

from safekeel.errors import DataError, UsageError
from safekeel.taxonomy import load_taxonomy
from safekeel.taxonomy.taxonomy import parse_taxonomy

TC260 = load_taxonomy()
TEXT = (resources.files("safekeel.taxonomy") / "risks.toml").read_text("utf-8")


def test_appendix_a_has_5_areas_and_8_9_5_7_2_categories() -> None:
    counts = [sum(category.area == area.id for category in TC260.categories) for area in TC260.areas]
    assert counts == [8, 9, 5, 7, 2]
    letters = ["".join(c.id[-1] for c in TC260.categories if c.area == area.id) for area in TC260.areas]
    assert letters == ["abcdefgh", "abcdefghi", "abcde", "abcdefg", "ab"]


@pytest.mark.parametrize(("name", "areas"), [("17", "12"), ("29", "1234"), ("31", "12345")])
def test_subset_has_as_many_categories_as_its_name_says(name: str, areas: str) -> None:
    ids = TC260.subset(name)
    assert len(set(ids)) == int(name)
    assert {category_id[2] for category_id in ids} == set(areas)


def test_names_come_in_the_order_of_the_standard() -> None:
    names = TC260.names("short_en")
    assert list(names) == sorted(names) == list(TC260.subset("31"))
    assert names["A.1.f"] == "violence"
    assert TC260.names("short_zh")["A.1.f"] == "暴力"
    assert TC260.names("zh")["A.3.a"] == "侵犯他人知识产权"


def test_the_area_law_is_the_item_of_article_4_with_its_number() -> None:
    assert [area.law[0][-3:] for area in TC260.areas] == ["第一项", "第二项", "第三项", "第四项", "第五项"]


def test_mistyped_id_is_an_error_that_offers_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"'A\.1\.j'.*Did you mean 'A\.1\.[a-h]'"):
        TC260.category("A.1.j")
    with pytest.raises(UsageError, match=r"No subset '30'.*17, 29, 31"):
        TC260.subset("30")
    with pytest.raises(UsageError, match="Did you mean 'tc260'"):
        load_taxonomy("tc26")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('id = "A.1.b"', 'id = "A.1.a"', "category id 'A.1.a' occurs twice"),
        ('short_en = "age bias"', 'short_en = "job bias"', "short_en 'job bias' occurs twice"),
        ('short_en = "tax fraud"', 'short_en = "piracy fraud"', "'piracy' is part of 'piracy fraud'"),
        ('short_zh = "谣言"', 'short_zh = "谣 言"', "short_zh"),
        ('id = "A.5.b"', 'id = "A.6.b"', "the area 'A.6', expected one of A.1, A.2"),
        ('"17" = ["A.1", "A.2"]', '"17" = ["A.1", "A.9"]', "17 belongs to the area 'A.9'"),
        ('law = ["刑法 第二百四十九条"]', "law = []", "at least 1 item"),
        ('short_zh = "暴力"', 'shrt_zh = "暴力"', "shrt_zh"),
        ("[subsets]", "[subsets", "not TOML"),
    ],
)
def test_contradictory_file_is_refused_with_the_reason(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(DataError, match=message):
        parse_taxonomy(TEXT.replace(old, new, 1), "risks.toml")
