#!/usr/bin/env bash
# Set-up, then style, types and tests.
#
#   bash runs/test.sh                 everything that takes seconds
#   bash runs/test.sh --all           with the tests that train (minutes)
#   bash runs/test.sh -k judge …      any other argument goes to pytest
#
# Tests on public data run where SAFEKEEL_DATA names its folder and are skipped elsewhere, with the reason.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=_env.sh
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"

selection=(-m "not slow")
if [ "${1:-}" = --all ]; then
    selection=()
    shift
fi

set_up train,capability,corpus,attacks,dev
cd "$ROOT"
status=0
step() { # NAME COMMAND…
    local name="$1"
    shift
    say "== $name"
    "$VENV/bin/python" -m "$@" || { status=1; say "== $name: failed"; }
}
step "style" ruff check .
step "format" ruff format --check .
step "types" mypy
# A worker per core, a file at a time (its fixtures are shared); torch's own threads would fight the workers for cores.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
step "tests" pytest -n auto --maxprocesses 4 --dist loadfile ${selection[@]+"${selection[@]}"} "$@"
exit "$status"
