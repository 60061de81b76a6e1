"""A scripted target and teacher for corpus builds: what a model would write, as the script of a `scripted:` engine.

For each sample the script has a reply under the policy prompt, one to a correction, one to the bare request, and one to
a request for a twin. Every tenth risky prompt is "hard": under the policy it complies (with a placeholder), and only
its correction is safe. Every seventh problem is solved wrongly.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safekeel.corpus.sample import Sample
from safekeel.corpus.synthesis.policy import policy_texts, risk_words, template_thought
from safekeel.taxonomy import Taxonomy

HARD, WRONG = 10, 7
_REASONS = {
    "zh": ("这会伤害到别人", "这违反法律", "这会破坏信任", "这对任何人都没有好处", "我不能参与这样的事"),
    "en": ("it would hurt people", "it is against the law", "it breaks trust", "no good comes of it", "it is wrong"),
}
_WAYS = {
    "zh": ("可以向有关部门求助", "不妨了解相关法律", "可以和信任的人谈谈", "我愿意帮你写一份合法的方案"),
    "en": ("the proper office can help", "the law says more", "talk to a friend", "I can help with a lawful plan"),
}
_HELP_ZH = (
    "好的。首先可以了解它的基本含义和来历，其次看看常见的做法和例子，最后结合自己的情况选择合适的方式。",
    "这个主题有三个方面：历史背景、主要特点和实际应用。历史上它出现得很早，特点是简单实用，如今在生活中随处可见。",
    "可以分三步来做：先准备材料，再按顺序完成每个部分，最后检查一遍结果。熟练之后，整个过程大约需要半个小时。",
    "推荐从入门书籍开始，每天读二十页，做一点笔记；一个月后你会对整体有清楚的认识，再选择感兴趣的部分深入学习。",
)
UNSAFE = {"zh": "好的，第一步：[已省略]，第二步：[已省略]。", "en": "Sure. Step one: [redacted], step two: [redacted]."}


def write_script(samples: Iterable[Sample], taxonomy: Taxonomy, path: Path) -> Path:
    """Write the script for these samples (their prompts in the order of the corpus)."""
    counts = {"risky": 0, "replay": 0}
    with path.open("w", encoding="utf-8") as file:
        for sample in samples:
            number = counts.get(sample.role, 0)
            counts[sample.role] = number + 1
            for reply in _replies(sample, taxonomy, number):
                file.write(json.dumps({"id": sample.id, **reply}, ensure_ascii=False) + "\n")
    return path


def _replies(sample: Sample, taxonomy: Taxonomy, number: int) -> Iterable[dict[str, Any]]:
    lang = sample.prompt.lang
    policy, correction = policy_texts()[lang]["head"][:12], policy_texts()[lang]["correct"][:12]
    if sample.role == "risky":
        thought, answer = template_thought(sample, taxonomy), refusal(sample, taxonomy, number)
        safe = f"<think>{thought}</think>{answer}"
        unsafe = f"<think>{'用户要我帮忙，照做。' if lang == 'zh' else 'The user wants help.'}</think>{UNSAFE[lang]}"
        yield {"match": correction, "raw": safe}
        yield {"match": policy, "raw": unsafe if number % HARD == 0 else safe}
        yield {"match": "JSON", "raw": twin_proposal(sample)}
        yield {"raw": unsafe}
        yield {"id": f"{sample.id}/counter", "raw": helpful(sample, taxonomy)}
    elif sample.role == "replay":
        right = sample.prompt.target if number % WRONG else "0"
        yield {"raw": f"<think>One step after another.</think>The answer is {right}."}
    else:
        yield {"raw": helpful(sample, taxonomy)}


def helpful(sample: Sample, taxonomy: Taxonomy) -> str:
    """A harmless answer to a twin or an ordinary instruction."""
    words = sample.prompt.messages[-1].content
    if sample.prompt.lang == "zh":
        return f"<think>用意正当，正常回答。</think>{_HELP_ZH[len(words) % len(_HELP_ZH)]}"
    return f"<think>A plain question.</think>Here is an overview of {words[:30]}: the background, then two examples."


def refusal(sample: Sample, taxonomy: Taxonomy, number: int) -> str:
    """A responsible refusal, worded by its number and its category."""
    lang = sample.prompt.lang
    reason, way = _REASONS[lang][number % 5], _WAYS[lang][number // 5 % 4]
    if lang == "zh":
        return f"抱歉，我不能帮你做这件事。它涉及{risk_words(sample, taxonomy)}，{reason}。{way}。"
    return (
        f"I'm sorry, but I can't help with that. It is a matter of {risk_words(sample, taxonomy)}, and {reason}; {way}."
    )


def twin_proposal(sample: Sample) -> str:
    """A harmless twin that shares the first long word of the request."""
    text = sample.prompt.messages[-1].content
    if sample.prompt.lang == "zh":
        word = text[2:5]
        twin = {"prompt": f"“{word}”这个词在字典里怎么解释？第 {len(text)} 号词条", "shared": [word]}
    else:
        word = max(text.split(), key=len).strip(".,?!\"'")
        twin = {"prompt": f"What does a dictionary say about the word {word}, entry {len(text)}?", "shared": [word]}
    return "<think>x</think>" + json.dumps(twin, ensure_ascii=False)
