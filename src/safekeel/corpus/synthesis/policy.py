"""The policy prompt under which a model writes safe reasoning, and the template thoughts. The texts: `policy.toml`.

A policy prompt is a sample's own conversation with the last user turn wrapped: policy, hint, fenced request. It exists
for one generation only; the training sample has the user's own words.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Any, Literal

from safekeel.corpus.sample import Sample
from safekeel.errors import DataError
from safekeel.files import digest
from safekeel.judges.fence import MAX_QUESTION, MAX_TEXT, fence_code, fenced, inert
from safekeel.records import Lang, Message, Prompt
from safekeel.taxonomy import Taxonomy

Style = Literal["improved", "short", "template"]
"""Form of the chain of thought: as the model likes, at most three sentences, or one of our sentences (the answer is the
model's own in all three). 2505.15404 measured all three: on R1-Distill-32B `short` is best, on 7B `improved` refuses
least of the harmless."""


_MARK = {"zh": 14, "en": 40}
"""Characters of a rule that no answer has by chance."""


@cache
def policy_texts() -> dict[str, Any]:
    """The texts as they stand in `policy.toml`."""
    return tomllib.loads((resources.files("safekeel.corpus.synthesis") / "policy.toml").read_text("utf-8"))


def policy_version() -> str:
    """Hash of all texts: a reworded policy is another corpus."""
    return digest(policy_texts())[:16]


def policy_prompt(sample: Sample, style: Style, taxonomy: Taxonomy, draft: str | None = None) -> Prompt:
    """The prompt that asks for thought and answer to `sample`, under its id.

    Args:
        draft: the model's own unsafe answer, where it is to be corrected.

    Raises:
        DataError: the conversation does not end with the user.
    """
    *earlier, last = sample.prompt.messages
    if last.role != "user":
        raise DataError(f"{sample.id}: the last message is the {last.role}'s; expected the user's request.")
    lang, words = sample.prompt.lang, policy_texts()[sample.prompt.lang]
    extra = {"improved": [], "short": [words["short"]], "template": [words["answer_only"]]}[style]
    rules = "\n".join(f"{number}. {rule}" for number, rule in enumerate([*words["rules"], *extra], start=1))
    request = inert(last.content, MAX_QUESTION)
    text = "\n\n".join(
        part
        for part in (
            words["head"],
            rules,
            _finding(sample, taxonomy) if sample.role == "risky" else "",
            words["request"].format(request=fenced("REQUEST", request, fence_code([request]))),
            _correction(draft, lang) if draft else "",
        )
        if part
    )
    messages = (*earlier, Message(role="user", content=text))
    return sample.prompt.model_copy(update={"id": sample.id, "messages": messages})


def _correction(draft: str, lang: Lang) -> str:
    text = inert(draft, MAX_TEXT)
    return str(policy_texts()[lang]["correct"].format(draft=fenced("DRAFT", text, fence_code([text]))))


def _finding(sample: Sample, taxonomy: Taxonomy) -> str:
    """The hint: the declared category with its law, or all areas where none is declared."""
    lang, words = sample.prompt.lang, policy_texts()[sample.prompt.lang]
    joint = "、" if lang == "zh" else "; "
    if sample.prompt.risk is None:
        return str(words["finding_unknown"].format(names=joint.join(getattr(area, lang) for area in taxonomy.areas)))
    category = taxonomy.category(sample.prompt.risk)
    return str(words["finding_known"].format(names=getattr(category, lang), basis=basis(sample, taxonomy)))


def basis(sample: Sample, taxonomy: Taxonomy) -> str:
    """The law behind the sample's category, in its language (statutes keep their Chinese names in English text)."""
    if sample.prompt.risk is None:
        return "法律法规" if sample.prompt.lang == "zh" else "the law"
    law = taxonomy.category(sample.prompt.risk).law
    return "、".join(f"《{name.split()[0]}》" + "".join(name.split()[1:]) for name in law)


def template_thought(sample: Sample, taxonomy: Taxonomy) -> str:
    """One of our sentences for this sample: names the risk, its basis and the decision, or why there is no risk."""
    lang = sample.prompt.lang
    kind = "risky" if sample.role == "risky" else "counter"
    variants = policy_texts()["template"][lang][kind]
    chosen = variants[int(digest(sample.id)[:8], 16) % len(variants)]
    triggers = sample.prompt.meta.get("trigger") or [""]
    return str(chosen.format(short=risk_words(sample, taxonomy), basis=basis(sample, taxonomy), trigger=triggers[0]))


def risk_words(sample: Sample, taxonomy: Taxonomy) -> str:
    """The category in plain words; "a violation of the law" where none is declared."""
    if sample.prompt.risk is None:
        return "违法有害内容" if sample.prompt.lang == "zh" else "unlawful or harmful content"
    category = taxonomy.category(sample.prompt.risk)
    return category.short_zh if sample.prompt.lang == "zh" else category.short_en


def names_risk(thought: str, sample: Sample, taxonomy: Taxonomy) -> bool:
    """Whether a thought names the declared category or its basis, by any of their names.

    Where no category is declared, any category's name will do.
    """
    categories = taxonomy.categories if sample.prompt.risk is None else [taxonomy.category(sample.prompt.risk)]
    lower = thought.lower()
    for category in categories:
        laws = [name.split()[0] for name in category.law]
        names = [category.id, category.zh, category.en, category.short_zh, category.short_en, *laws]
        if any(name.lower() in lower for name in names):
            return True
    return False


def policy_marks() -> tuple[str, ...]:
    """The beginnings of the policy's own sentences: a response that holds one has quoted it."""
    texts = policy_texts()
    return tuple(rule[: _MARK[lang]] for lang in ("zh", "en") for rule in (texts[lang]["head"], *texts[lang]["rules"]))


def leaked(text: str, lang: Lang) -> str | None:
    """The first words that talk about the policy as a document, or None."""
    lower = text.lower()
    return next((mark for mark in policy_texts()["leaks"][lang] if mark in lower), None)
