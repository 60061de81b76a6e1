"""`render`: everything a run's artefacts say, as card, Markdown, HTML and figures."""

from __future__ import annotations

from pathlib import Path

from safekeel.artifact import atomic_write_json, atomic_write_text
from safekeel.files import make_folder
from safekeel.report import gate, html, markdown
from safekeel.report.card import card_of
from safekeel.report.evidence import read_evidence
from safekeel.report.page import exports, page_of


def render(run_dir: Path, out_dir: Path, rules: Path | None = None) -> list[Path]:
    """Write `card.json`, `report.md`, `report.html` and the figures as SVG files; returns their paths.

    The same artefacts give the same bytes.

    Raises:
        DataError: no run folder, or a malformed file in it.
        ConfigError: malformed rules.
    """
    evidence, the_rules = read_evidence(Path(run_dir)), gate.load_rules(rules)
    card = card_of(evidence, the_rules)
    page = page_of(evidence, card, the_rules)
    out_dir = Path(out_dir)
    make_folder(out_dir)
    atomic_write_json(out_dir / "card.json", card)
    texts = {"report.md": markdown.render(page), "report.html": html.render(page), **exports(page["figures"])}
    for name, text in texts.items():
        atomic_write_text(out_dir / name, text)
    return [out_dir / name for name in ("card.json", *texts)]
