"""The set-up of runs/*.sh: each check has its remedy, a half-built .venv is noticed, the right PyTorch is asked for.

`_env.sh` runs here in a copy of the repository's root with stand-ins for what would download; nothing is installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STAND_INS = (
    'pip_install() { echo "PIP $*"; }; has_nvidia_gpu() { return 1; }; uname() { echo Linux; }; offered_torch() { :; };'
)

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "a repository"  # a space, as on many desktops
    (folder / "runs").mkdir(parents=True)
    for name in ("pyproject.toml", "constraints.txt", "runs/_env.sh", "runs/quickstart.sh", "runs/test.sh"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def executable(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{script}\n")
    path.chmod(0o755)
    return path


def bash(root: Path, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SAFEKEEL_")}
    return subprocess.run(
        ["bash", "-euc", f'set -o pipefail; source "{root}/runs/_env.sh"; {script}'],
        capture_output=True,
        text=True,
        env=clean | environment,
        cwd=root.parent,
    )


def venv_python(root: Path, before: str = "") -> Path:
    """A .venv whose Python is the one of these tests."""
    return executable(root / ".venv/bin/python", f'{before}\nexec "{sys.executable}" "$@"')


@pytest.mark.parametrize("name", ["runs/_env.sh", "runs/quickstart.sh", "runs/test.sh", ".ci/run"])
def test_script_parses(name: str) -> None:
    assert subprocess.run(["bash", "-n", str(ROOT / name)], capture_output=True, text=True).stderr == ""


def test_no_supported_python_is_named_with_its_remedy(root: Path, tmp_path: Path) -> None:
    for name in ("python3.11", "python3.12", "python3", "python"):
        executable(tmp_path / "bin" / name, "[[ $2 == *version_info* ]] && exit 1; echo 3.9.6")
    done = bash(root, "set_up train", PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert done.returncode == 2
    assert "Python 3.11 or 3.12 is needed; tried: python3.11 (3.9.6)" in done.stderr
    assert "what to do: install one" in done.stderr and "SAFEKEEL_PYTHON" in done.stderr


def test_missing_venv_module_is_named_with_its_remedy(root: Path, tmp_path: Path) -> None:
    python = executable(tmp_path / "python", f'[[ $2 == *ensurepip* ]] && exit 1; exec "{sys.executable}" "$@"')
    done = bash(root, "set_up train", SAFEKEEL_PYTHON=str(python))
    assert done.returncode == 2
    assert "has no venv module" in done.stderr
    assert f"apt install python{sys.version_info[0]}.{sys.version_info[1]}-venv" in done.stderr
    assert not (root / ".venv").exists()


def test_full_disk_is_named_with_its_remedy(root: Path, tmp_path: Path) -> None:
    executable(tmp_path / "bin/df", "echo header; echo /dev/x 100 90 3145728 90% /")
    done = bash(root, "set_up train", SAFEKEEL_PYTHON=sys.executable, PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert done.returncode == 2
    assert "has 3 GB of free disk, 4 GB are needed" in done.stderr and "what to do: free some" in done.stderr


def test_first_set_up_installs_all_and_the_second_nothing(root: Path) -> None:
    def set_up(extras: str) -> str:
        stand_ins = STAND_INS + "make_venv() { echo VENV; }; torch_version() { :; };"
        done = bash(root, f"{stand_ins} set_up {extras}", SAFEKEEL_PYTHON=sys.executable)
        assert done.returncode == 0, done.stderr
        return done.stdout

    venv_python(root)
    first = set_up("train")
    assert "VENV" in first and f"-e {root}[train]" in first and f"-c {root}/constraints.txt" in first
    assert set_up("train") == ""
    assert f"{root}[dev,train]" in set_up("train,dev")  # more extras are added to those that are there
    assert set_up("train") == set_up("dev") == ""
    with (root / "constraints.txt").open("a") as file:
        file.write("# changed\n")
    assert f"{root}[dev,train]" in set_up("train")


def test_failed_installation_leaves_no_stamp_and_says_what_to_do(root: Path) -> None:
    venv_python(root, before='[[ "$*" == *"pip install"* ]] && exit 1')
    stand_ins = "make_venv() { :; }; torch_version() { echo 2.13.0+cpu; };"
    done = bash(root, f"{stand_ins} set_up train", SAFEKEEL_PYTHON=sys.executable)
    assert done.returncode == 2
    assert "pip could not install" in done.stderr and "run this again: it continues" in done.stderr
    assert not (root / ".venv/.safekeel-stamp").exists()


def install_torch(root: Path, configured: str, with_cpu_index: str, free_gb: int) -> subprocess.CompletedProcess[str]:
    """Install where pip's configuration offers one build, and the CPU index beside it another."""
    offered = f"offered_torch() {{ [ $# = 0 ] && echo {configured} || echo {with_cpu_index}; }};"
    return bash(root, f"{STAND_INS} {offered} torch_version() {{ :; }}; FREE_GB={free_gb}; install_torch")


@pytest.mark.parametrize(
    ("configured", "with_cpu_index", "where", "index"),
    [
        ("2.13.0+cpu", "2.13.0+cpu", "CPU build, from the configured index", False),
        ("2.13.0", "2.13.0+cpu", "CPU build, from https://download.pytorch.org/whl/cpu", True),
        ("", "2.13.0+cpu", "CPU build, from https://download.pytorch.org/whl/cpu", True),
        ("2.13.0", "2.13.0", "several GB of CUDA libraries", False),
    ],
)
def test_cpu_build_of_torch_comes_from_the_users_index_where_it_has_one(
    root: Path, configured: str, with_cpu_index: str, where: str, index: bool
) -> None:
    announced, command = install_torch(root, configured, with_cpu_index, free_gb=20).stdout.splitlines()
    assert where in announced
    assert command == "PIP torch==2.13.0" + index * " --extra-index-url https://download.pytorch.org/whl/cpu"


def test_unreachable_cpu_build_on_a_small_disk_is_named_with_its_remedy(root: Path) -> None:
    done = install_torch(root, "2.13.0", "2.13.0", free_gb=6)
    assert (done.returncode, done.stdout) == (2, "")
    assert "6 GB of free disk are too few" in done.stderr and "PIP_EXTRA_INDEX_URL" in done.stderr


@pytest.mark.parametrize("otherwise", ["has_nvidia_gpu() { :; }", "uname() { echo Darwin; }"])
def test_other_machines_get_the_default_build(root: Path, otherwise: str) -> None:
    done = bash(
        root, STAND_INS + f"torch_version() {{ :; }}; offered_torch() {{ echo 2.13.0; }}; {otherwise}; install_torch"
    )
    assert done.stdout.splitlines()[-1] == "PIP torch==2.13.0"


def test_installed_torch_of_that_version_is_reused(root: Path) -> None:
    done = bash(root, STAND_INS + "torch_version() { echo 2.13.0+cu130; }; install_torch")
    assert done.stdout == "[3/4] PyTorch 2.13.0+cu130: reused\n"


@pytest.fixture
def packages(root: Path, tmp_path: Path) -> Path:
    """The package folder of a .venv that holds pip and nothing else."""
    site = tmp_path / "site"
    (site / "pip").mkdir(parents=True)
    (site / "pip/__init__.py").touch()
    executable(root / ".venv/bin/python", f'PYTHONPATH="{site}" exec "{sys.executable}" -S "$@"')
    return site


def make_venv(root: Path) -> str:
    fake = executable(root / "python", 'echo "RUN $*"')
    return bash(root, f'PYTHON="{fake}"; make_venv').stdout


@pytest.mark.parametrize("left", ["no RECORD", "no file"])
def test_half_built_venv_is_made_anew(root: Path, packages: Path, left: str) -> None:
    info = packages / "torch-2.13.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0\n")
    if left == "no file":  # pip writes RECORD last, yet a crash of the machine may lose files written before it
        (info / "RECORD").write_text("torch/__init__.py,,\ntorch-2.13.0.dist-info/METADATA,,\n")
    said = make_venv(root)
    assert "half built (incomplete: torch), made anew" in said
    assert f"RUN -m venv --clear {root}/.venv" in said


def test_whole_venv_is_reused(root: Path, packages: Path) -> None:
    assert make_venv(root) == "[2/4] .venv: reused\n"


def test_venv_whose_python_is_broken_or_has_no_pip_is_made_anew(root: Path, packages: Path) -> None:
    shutil.rmtree(packages / "pip")
    assert "does not work, made anew" in make_venv(root)
    venv_python(root, before="exit 1")
    assert "does not work, made anew" in make_venv(root)


def test_quickstart_passes_its_arguments_on_and_names_the_report(root: Path) -> None:
    venv_python(root)
    executable(root / ".venv/bin/safekeel", 'printf "<%s>" "$@"; echo "offline=$HF_HUB_OFFLINE"')
    stand_ins = STAND_INS + "make_venv() { :; }; torch_version() { :; };"
    bash(root, f"{stand_ins} set_up train", SAFEKEEL_PYTHON=sys.executable)
    command = ["bash", str(root / "runs/quickstart.sh"), "--out", "my out", "--set", "a.b=c"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root.parent)
    assert done.returncode == 0, done.stderr
    assert "<run><--out><my out><--set><a.b=c>offline=1" in done.stdout
    assert "Open my out/90-report/report.html" in done.stdout
