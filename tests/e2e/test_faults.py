"""Bad input and sudden death: the message, the exit code, and that nothing is lost or done twice."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from safekeel.pipeline import STAGES
from safekeel.records import Completion, read_jsonl
from tests.helpers import command, environment, safekeel, start, tiny_arguments

SHORT = ("00-base", "10-corpus", "30-select", "90-report")


def interrupt_in(stage: str, out: Path, how: signal.Signals, delay: float) -> tuple[int, str]:
    """Start the tiny loop, wait until it says that `stage` runs and `delay` seconds more, send the signal.

    On a fast machine `stage` may be done already, since the signal of the turn before it came late; then the
    first stage after it that runs is stopped. Returns the exit code and everything written to stderr.
    """
    turns = tuple(f"{name}: running" for name in STAGES[STAGES.index(stage) :])
    process = start(*tiny_arguments(out))
    assert process.stderr is not None
    lines: list[str] = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith(turns):
            time.sleep(delay)
            process.send_signal(how)
            break
    lines += process.stderr.readlines()
    return process.wait(timeout=120), "".join(lines)


@pytest.mark.parametrize(("how", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_stopped_in_every_stage_the_same_command_gives_the_same_rows(
    how: signal.Signals, code: int, finished_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "stopped"
    stops = [interrupt_in(stage, out, how, 0.1 if stage in SHORT else 1.5) for stage in STAGES]
    stopped = [said for found, said in stops if found == code]
    assert len(stopped) >= 5  # the last stages may be over before their turn
    if how is signal.SIGINT:
        assert all("run the same command again" in said for said in stopped)
    done = safekeel(*tiny_arguments(out))
    assert done.returncode == 0, done.stderr
    for name in ("05-eval-before", "60-eval-after"):
        again, whole = (
            sorted(row.prompt_id for row in read_jsonl(folder / name / "completions.jsonl", Completion))
            for folder in (out, finished_run)
        )
        assert again == whole
    assert (out / "10-corpus/sft.jsonl").read_bytes() == (finished_run / "10-corpus/sft.jsonl").read_bytes()
    for stage in ("20-sft", "40-rl"):
        again, whole = (
            [line.split(",")[0] for line in (f / stage / "metrics.jsonl").read_text().splitlines()]
            for f in (out, finished_run)
        )
        assert again == whole


def test_two_runs_on_one_folder(tmp_path: Path) -> None:
    out = tmp_path / "shared"
    first = subprocess.Popen(command(*tiny_arguments(out)), stderr=subprocess.PIPE, text=True, env=environment())
    assert first.stderr is not None
    try:
        for line in first.stderr:
            if ": running" in line:
                break
        second = safekeel(*tiny_arguments(out))
        assert second.returncode == 2
        assert str(first.pid) in second.stderr and "in use" in second.stderr
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.wait(timeout=60)


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["run", "--set", "rl.num_step=3"], 2, "num_steps"),
        (["run", "--set", "corpse.num_pairs=3"], 2, "corpus"),
        (["run", "--set", "sft.learning_rate=fast"], 2, "learning_rate"),
        (["run", "nanoo"], 2, "nano"),
        (["run", "--force", "99-nothing"], 2, "90-report"),
        (["run", "--set", "nano.test_words=nowhere.toml"], 3, "nowhere.toml"),
        (["eval", "hf:no/such/folder", "--bench", "nano", "--out", "{tmp}"], 4, "no/such/folder"),
        (["eval", "hff:x", "--bench", "nano", "--out", "{tmp}"], 2, "hf"),
        (["eval", "hf:x", "--bench", "chisafetybench-refusall", "--out", "{tmp}"], 2, "chisafetybench-refusal"),
        (["score", "no/such/folder"], 3, "prompts.jsonl"),
        (["train", "sft", "no-scheme", "--corpus", "x", "--out", "{tmp}"], 2, "hf:PATH"),
        (["corpus", "card", "no/such/folder"], 3, "card"),
        (["nosuchcommand"], 2, "No such command"),
        (["run", "--nosuchoption"], 2, "--nosuchoption"),
        (["eval", "hf:x", "--bench", "nano", "--out", "{tmp}", "--top-p", "7"], 2, "--top-p"),
        (["eval", "hf:x", "--bench", "nano", "--out", "{tmp}", "--think", "hard"], 2, "think"),
    ],
)
def test_bad_arguments(arguments: list[str], code: int, expected: str, tmp_path: Path) -> None:
    filled = [argument.replace("{tmp}", str(tmp_path / "out")) for argument in arguments]
    if filled[0] == "run":
        filled += ["--out", str(tmp_path / "out")]
    done = safekeel(*filled)
    assert done.returncode == code, done.stderr
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_malformed_recipe_and_rows_name_file_and_line(tmp_path: Path, finished_run: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[sft]\nnum_epochs = = 2\n", "utf-8")
    done = safekeel("run", str(recipe), "--out", str(tmp_path / "out"))
    assert done.returncode == 2 and "recipe.toml" in done.stderr and "line 2" in done.stderr
    folder = tmp_path / "scored"
    folder.mkdir()
    (folder / "prompts.jsonl").write_bytes((finished_run / "05-eval-before/prompts.jsonl").read_bytes())
    rows = (finished_run / "05-eval-before/completions.jsonl").read_text("utf-8").splitlines()
    (folder / "completions.jsonl").write_text("\n".join([rows[0], "{broken", *rows[2:]]) + "\n", "utf-8")
    done = safekeel("score", str(folder))
    assert done.returncode == 3 and "completions.jsonl" in done.stderr and "2" in done.stderr
