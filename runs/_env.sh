# Shared set-up, sourced by quickstart.sh and test.sh:  set_up EXTRAS   (such as: set_up train,dev)
#
# Creates or reuses .venv in the repository root and leaves its path in VENV. The stamp file in .venv is written last and
# holds a digest of what was installed: an equal digest means nothing to do (under a second), a missing one means a
# half-built .venv, which is repaired, or made anew where packages are incomplete. pip's configuration (index, proxies,
# find-links) is respected; nothing is fetched from a model hub. Works with bash 3.2 (macOS) and later.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"
STAMP="$VENV/.safekeel-stamp"
TORCH_VERSION=2.13.0 # what constraints.txt was tested with; its build depends on the machine, so it is installed first
TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu
NEEDED_GB=4
NEEDED_GB_CUDA=12 # the default build on Linux brings the CUDA libraries

export HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 TRANSFORMERS_OFFLINE=1
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_USER=0 PYTHONNOUSERSITE=1

say() { printf '%s\n' "$*"; }

die() { # WHAT REMEDY
    printf 'error: %s\n  what to do: %s\n' "$1" "$2" >&2
    exit 2
}

# The digest of an installation, printed by the Python of .venv: fails where that Python does not work.
digest() {
    "$VENV/bin/python" - "$ROOT" "$TORCH_VERSION" <<'PYTHON' 2>/dev/null
import hashlib, pathlib, sys
root = pathlib.Path(sys.argv[1])
total = hashlib.sha256(repr((sys.argv[1:], sys.version)).encode())
for name in ("pyproject.toml", "constraints.txt"):
    total.update((root / name).read_bytes())
print(total.hexdigest())
PYTHON
}

# Whether the stamp says that all of these extras are installed as the files now ask.
is_set_up() { # EXTRAS
    local wanted installed extra
    [ -f "$STAMP" ] && wanted="$(digest)" && [ "$(head -n 1 "$STAMP")" = "$wanted" ] || return 1
    installed=",$(tail -n 1 "$STAMP"),"
    for extra in ${1//,/ }; do
        [[ "$installed" == *",$extra,"* ]] || return 1
    done
}

# A supported Python, in PYTHON.
find_python() {
    local candidate tried=""
    for candidate in ${SAFEKEEL_PYTHON:-} python3.11 python3.12 python3 python; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then
            PYTHON="$candidate"
            return
        fi
        tried="$tried $candidate ($("$candidate" -c 'import platform; print(platform.python_version())' 2>/dev/null || echo none))"
    done
    die "Python 3.11 or 3.12 is needed; tried:$tried." \
        "install one (Debian, Ubuntu: sudo apt install python3.11 python3.11-venv; macOS: brew install python@3.11; any system: uv python install 3.11), or name it with SAFEKEEL_PYTHON=/path/to/python3.11."
}

check_venv_module() {
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null && return
    local version
    version="$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
    die "$PYTHON has no venv module (or no ensurepip)." "install it (Debian, Ubuntu: sudo apt install python$version-venv), then run this again."
}

check_disk() {
    local free_kb needed_gb=$NEEDED_GB
    [ -n "$(torch_version)" ] && needed_gb=1 # the large part is there already
    free_kb="$(df -Pk "$ROOT" | awk 'NR == 2 { print $4 }')"
    FREE_GB=$((free_kb / 1024 / 1024))
    [ "$FREE_GB" -ge "$needed_gb" ] ||
        die "$ROOT has $FREE_GB GB of free disk, $needed_gb GB are needed." "free some (pip cache purge helps), or move the repository to a larger disk."
}

# Names of packages in .venv that lack files, as after a kill of pip; fails where .venv's Python or pip does not work.
incomplete_packages() {
    "$VENV/bin/python" - <<'PYTHON' 2>/dev/null
import sys
from importlib.metadata import distributions
import pip
if not (3, 11) <= sys.version_info[:2] <= (3, 12):
    sys.exit(1)
for found in distributions():
    files = found.files
    if not files or any(not found.locate_file(file).exists() for file in files if file.suffix != ".pyc"):
        print(found.metadata["Name"] or "a package without a name", end=" ")
PYTHON
}

# Leaves a .venv that works, new only where the old one cannot be repaired.
make_venv() {
    local broken
    if [ ! -e "$VENV" ]; then
        say "[2/4] .venv: new"
    elif ! broken="$(incomplete_packages)"; then
        say "[2/4] .venv: its Python or pip does not work, made anew"
    elif [ -n "$broken" ]; then
        say "[2/4] .venv: half built (incomplete: ${broken% }), made anew"
    else
        say "[2/4] .venv: reused"
        return
    fi
    "$PYTHON" -m venv --clear "$VENV" || die "$PYTHON -m venv --clear $VENV failed." "remove $VENV by hand, then run this again."
}

pip_install() { # ARGUMENTS…
    local quiet=()
    [ -t 1 ] || quiet=(--quiet)
    "$VENV/bin/python" -m pip install ${quiet[@]+"${quiet[@]}"} "$@" || die "pip could not install: $*" \
        "read pip's message above; check the network and the index (pip config list). Then run this again: it continues."
}

torch_version() {
    [ -x "$VENV/bin/python" ] || return 0
    "$VENV/bin/python" -c 'from importlib.metadata import version; print(version("torch"))' 2>/dev/null || true
}

has_nvidia_gpu() {
    [ -e /proc/driver/nvidia/version ] || { command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; }
}

# The build that pip would take, such as 2.13.0+cpu, by its configuration and the given arguments; installs nothing.
offered_torch() { # ARGUMENTS…
    "$VENV/bin/python" -m pip install --quiet --dry-run --ignore-installed --no-deps --report - "torch==$TORCH_VERSION" "$@" 2>/dev/null |
        "$VENV/bin/python" -c 'import json, sys; print(json.load(sys.stdin)["install"][0]["metadata"]["version"])' 2>/dev/null
}

# Sets TORCH_ARGUMENTS and TORCH_SOURCE: the CPU build on Linux without a GPU, else the default one.
choose_torch() {
    local cpu_index=(--extra-index-url "$TORCH_CPU_INDEX")
    TORCH_ARGUMENTS=("torch==$TORCH_VERSION")
    TORCH_SOURCE="from the configured index"
    if [ "$(uname -s)" != Linux ] || has_nvidia_gpu; then
        return
    elif [[ "$(offered_torch)" == *+cpu ]]; then
        TORCH_SOURCE="CPU build, from the configured index"
    elif [[ "$(offered_torch "${cpu_index[@]}")" == *+cpu ]]; then # newer than 2.13.0 for pip, so it wins over that
        TORCH_SOURCE="CPU build, from $TORCH_CPU_INDEX"
        TORCH_ARGUMENTS+=("${cpu_index[@]}")
    elif [ "$FREE_GB" -ge "$NEEDED_GB_CUDA" ]; then
        TORCH_SOURCE="with several GB of CUDA libraries, because no CPU build could be reached at $TORCH_CPU_INDEX"
    else
        die "no CPU build of PyTorch $TORCH_VERSION can be reached at $TORCH_CPU_INDEX, and $FREE_GB GB of free disk are too few for the default build ($NEEDED_GB_CUDA GB)." \
            "name a mirror that has it (export PIP_EXTRA_INDEX_URL=…/whl/cpu) or a folder with its wheel (export PIP_FIND_LINKS=…), then run this again."
    fi
}

install_torch() {
    local installed
    installed="$(torch_version)"
    if [ "${installed%%+*}" = "$TORCH_VERSION" ]; then
        say "[3/4] PyTorch $installed: reused"
        return
    fi
    choose_torch
    say "[3/4] PyTorch $TORCH_VERSION, $TORCH_SOURCE (1-2 minutes)"
    pip_install "${TORCH_ARGUMENTS[@]}"
}

set_up() { # EXTRAS
    if is_set_up "$1"; then
        return
    fi
    local extras="$1" current=""
    say "Set-up of $VENV: 2-6 minutes and 2 GB of disk the first time, under a second later."
    find_python
    check_venv_module
    check_disk
    say "[1/4] $("$PYTHON" -c 'import platform, sys; print("Python", platform.python_version(), sys.executable)'), $FREE_GB GB free"
    make_venv
    [ -f "$STAMP" ] && current="$(tail -n 1 "$STAMP")"
    rm -f "$STAMP"
    install_torch
    [ -z "$current" ] || extras="$(printf '%s\n' "$current" "$extras" | tr , '\n' | sort -u | paste -s -d , -)"
    say "[4/4] SafeKeel and its libraries [$extras] (1-2 minutes)"
    pip_install -c "$ROOT/constraints.txt" -e "${ROOT}[$extras]"
    printf '%s\n%s\n' "$(digest)" "$extras" >"$STAMP.partial"
    mv "$STAMP.partial" "$STAMP"
    say "Set-up done in $((SECONDS / 60)) min $((SECONDS % 60)) s."
}
