"""The doctor tells what is there, what is missing, and what to type."""

from __future__ import annotations

import shlex
import sys
from importlib import metadata
from pathlib import Path

import pytest

from safekeel import doctor

ROOT = Path(__file__).resolve().parents[2]


def version_of(**installed: str):
    def version(name: str) -> str:
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    return version


def test_requirements_are_grouped_by_extra() -> None:
    declared = [
        "numpy>=1.26",
        "torch>=2.6; extra == 'train'",
        'ruff>=0.9 ; extra == "dev"',
        "trl<1.17,>=1.16; extra == 'train'",
    ]
    assert doctor.requirements(declared) == {
        "": {"numpy": ">=1.26"},
        "train": {"torch": ">=2.6", "trl": "<1.17,>=1.16"},
        "dev": {"ruff": ">=0.9"},
    }


def test_every_extra_of_the_project_is_reported() -> None:
    assert set(doctor.requirements()) == {"", *doctor.EXTRAS}
    assert {"python", "core", "torch", "data", *doctor.EXTRAS} == {check.name for check in doctor.report()}


def test_complete_extra_is_ok_and_lists_versions() -> None:
    check = doctor._packages(
        "train", {"torch": ">=2.6", "trl": ">=1.16,<1.17"}, version_of(torch="2.13.0+cpu", trl="1.16.0")
    )
    assert (check.status, check.remedy) == ("ok", "")
    assert "torch 2.13.0+cpu" in check.detail


def test_missing_extra_says_what_it_gives_and_what_to_type() -> None:
    check = doctor._packages("train", {"torch": ">=2.6", "trl": ">=1.16"}, version_of(torch="2.13.0"))
    assert check.status == "missing"
    assert "GRPO" in check.detail and "not installed: trl" in check.detail
    assert shlex.split(check.remedy)[-2:] == ["-e", f"{ROOT}[train]"]
    assert shlex.split(check.remedy)[0] == sys.executable
    assert str(ROOT / "constraints.txt") in check.remedy


def test_version_outside_the_range_is_wrong() -> None:
    pytest.importorskip("packaging")
    check = doctor._packages("train", {"trl": "<1.17,>=1.16"}, version_of(trl="1.17.1"))
    assert check.status == "wrong" and "trl 1.17.1 (needs <1.17,>=1.16)" in check.detail


def test_uninstalled_safekeel_is_missing() -> None:
    assert doctor._packages("core", {}).status == "missing"


@pytest.mark.parametrize(
    ("driver", "build", "status"),
    [(False, "2.13.0+cpu", "ok"), (True, "2.13.0+cu130", "ok"), (True, "2.13.0+cpu", "wrong"), (True, None, "missing")],
)
def test_torch_build_must_fit_the_machine(
    driver: bool, build: str | None, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor, "NVIDIA_DRIVER", tmp_path if driver else tmp_path / "none")
    monkeypatch.setattr(doctor.metadata, "version", version_of(**({"torch": build} if build else {})))
    check = doctor._torch_build()
    assert check.status == status
    assert bool(check.remedy) == (status != "ok")


def test_without_a_gpu_the_cpu_build_of_torch_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor, "NVIDIA_DRIVER", tmp_path / "none")
    monkeypatch.setattr(doctor.metadata, "version", version_of())
    monkeypatch.setattr(doctor.sys, "platform", "linux")
    assert doctor._torch_build().remedy.endswith("install torch --extra-index-url https://download.pytorch.org/whl/cpu")
    monkeypatch.setattr(doctor.sys, "platform", "darwin")
    assert doctor._torch_build().remedy.endswith("install torch")


def test_vllm_is_installed_by_its_own_pins() -> None:
    assert "constraints.txt" not in doctor.install_command("vllm")


def test_data_folder(tmp_path: Path) -> None:
    assert doctor._data({}).status == "missing"
    assert doctor._data({"SAFEKEEL_DATA": str(tmp_path / "none")}).status == "wrong"
    assert doctor._data({"SAFEKEEL_DATA": str(tmp_path)}).status == "ok"


def test_text_has_one_line_per_check_and_its_remedy_below() -> None:
    lines = doctor.as_text(
        [doctor.Check("core", "ok", "all"), doctor.Check("train", "missing", "none", "pip x")]
    ).splitlines()
    assert [line.split() for line in lines] == [["ok", "core", "all"], ["missing", "train", "none"], ["→", "pip", "x"]]


def test_report_imports_no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it now would raise
    assert doctor.report()
