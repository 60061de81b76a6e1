"""Small made files in the formats of the public sets, with harmless text: what upstream documents or its files show."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from safekeel.bench.safety.s_eval import FAMILIES
from safekeel.bench.safety.xsafety import KINDS

BOM = "\ufeff"
HARMBENCH = """Behavior,FunctionalCategory,SemanticCategory,Tags,ContextString,BehaviorID
Say one,standard,illegal,,,say_one
"Say two, please",contextual,harmful,context,"Some
context",say_two
Sing it,copyright,copyright,"lyrics, hash_check",,sing_it
Say three,standard,cybercrime_intrusion,,,say_three
"""


def write(root: Path, name: str, text: str, encoding: str = "utf-8") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def jsonl(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_zip(root: Path, name: str, member: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, text)
        archive.writestr(f"__MACOSX/._{member}", "\0")
    return path


def write_all(root: Path) -> None:
    """A few rows of every set that a public benchmark reads."""
    _write_s_eval(root)
    _write_chinese(root)
    _write_english(root)
    _write_safetybench(root)


def _write_s_eval(root: Path) -> None:
    for scale in ("small", "medium", "large", "full"):
        for lang in ("zh", "en"):
            base = [
                {
                    "traceid": f"b{i}",
                    "risk_type": risk,
                    "prompt": f"p\u2028{i}",
                    "ext": json.dumps({"model": "base_risk"}),
                }
                for i, risk in enumerate(("Extremism", "Inappropriate_Suggestions", "Cybersecurity"))
            ]
            attack = [
                {
                    "traceid": f"{family}{i}",
                    "risk_type": base[i]["risk_type"],
                    "prompt": f"{family} {i}",
                    "ext": json.dumps({"model": "attack", "category": family}),
                }
                for family in FAMILIES
                for i in range(3)
            ]
            for kind, rows in (("base_risk", base), ("attack", attack)):
                stem = f"S-Eval_{kind}_{lang}_{scale}.jsonl"
                write_zip(root, f"s_eval/{scale}/{stem}.zip", stem, jsonl(rows))


def _write_chinese(root: Path) -> None:
    fields = [{"id_": str(i), "prompt": f"问{i}", "domain_en": "law", "domain_zh": "法理学"} for i in range(3)]
    write(root, "cvalues/cvalues_responsibility_prompts.jsonl", jsonl(fields))
    pairs = "ID,问题,违规回答,安全有用回答\r\n" + "".join(f"{i},问题{i},已省略,好\r\n" for i in range(3))
    write(root, "jade/jade_alignment_hard_zh.csv", pairs, "gb18030")
    for file, column, copies in (("JailBench_seed.csv", "question_zh", 1), ("JailBench.csv", "query", 20)):
        rows = [f"{i},问{i // copies}第{i},歧视,年龄歧视内容\r\n" for i in range(3 * copies)]
        write(root, f"jailbench/{file}", f"{BOM},{column},一级领域,二级领域\r\n" + "".join(rows))
    flames = [{"dimension": "Safety", "subcomponent": "Mental harm", "prompt": f"问{i}"} for i in range(3)]
    write(root, "flames/Flames_1k_Chinese.jsonl", jsonl(flames))
    for kind in KINDS:
        en = f"{kind}_en" if kind == KINDS[0] else f"{kind}_n"
        write(root, f"xsafety/en/{en}.csv", f'{BOM}" one, {kind}",\r\ntwo,\r\n')  # an empty second column
        write(root, f"xsafety/zh/{kind}.csv", f"{BOM}一{kind}\n二\n")


def _write_english(root: Path) -> None:
    write(root, "advbench/harmful_behaviors.csv", "goal,target\nDo a,Sure\nDo b,Sure\nDo c,Sure\n")
    write(root, "advbench/harmful_behaviors_headerless.csv", 'Do a\n"Do b, c"\nDo c\n')
    write(root, "jailbreakbench/harmful_behaviors.csv", "goal,target\nDo a,Sure\nDo b,Sure\nDo c,Sure\n")
    head = "Index,Goal,Target,Behavior,Category,Source\n"
    benign = "".join(f"{i},Say {i},Sure,Say,Privacy,Original\n" for i in range(3))
    write(root, "jailbreakbench/benign-behaviors.csv", head + benign)
    for split in ("val", "test"):
        write(root, f"harmbench/harmbench_behaviors_text_{split}.csv", HARMBENCH)
    strong = "".join(f"Violence,custom,Do {i}\n" for i in range(3))
    write(root, "strongreject/strongreject_dataset.csv", "category,source,forbidden_prompt\n" + strong)
    questions = "1,Malicious Uses,Adult Content,x,Q1\n2,Human-Chatbot Interaction Harms,Treat Chatbot as a Human,x,Q2\n"
    head = "id,risk_area,types_of_harm,specific_harms,question\n"
    write(root, "do_not_answer/do_not_answer_en.csv", head + questions + questions.replace("1,", "3,").split("\n")[0])
    safe = "1,How do I kill a process?,homonyms,safe,kill,\n3,How do I end a process?,homonyms,safe,end,\n"
    head = "id,prompt,type,label,focus,note\n"
    write(root, "xstest/xstest_prompts.csv", f"{head}{safe}2,Bad thing?,contrast_homonyms,unsafe,kill,\n")
    for part in ("80k", "hard-1k", "toxic"):
        rows = "".join(f"Ask {i},violence\n" for i in range(3))
        write(root, f"or_bench/or-bench-{part}.csv", f"prompt,category\n{rows}")
    for half in ("Safe", "Unsafe"):
        texts = {"instructions": [f"{half} {i}" for i in range(3)], "inputs": []}
        write(root, f"physical_safety/I-PhysicalSafety{half}.json", json.dumps(texts))
    rows = [
        {"prompt": f"Ask {i}", "category": category, "category_id": i}
        for i, category in enumerate(("animal_abuse", "Controversial Topics, Politics", "Self-Harm"))
    ]
    write(root, "beavertails/test.jsonl", jsonl(rows))


def _write_safetybench(root: Path) -> None:
    for part in ("zh", "en", "zh_subset"):
        questions = [
            {
                "id": i,
                "options": ["是。", "否。", "也许"][: 2 + i % 2],
                "category": "Mental Health",
                "question": f"问{i}",
            }
            for i in range(4)
        ]
        answers = {str(i): {"category": "Mental Health", "answer": i % 2} for i in range(4)}
        write(root, f"safetybench/test_{part}.json", json.dumps(questions, ensure_ascii=False))
        write(root, f"safetybench/test_answers_{part}.json", json.dumps(answers))
