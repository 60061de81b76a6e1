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
step "tests" pytest ${selection[@]+"${selection[@]}"} "$@"
exit "$status"
