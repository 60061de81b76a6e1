#!/usr/bin/env bash
# From nothing to a report, on CPU: make a small reasoning model safe and show what it still can do.
#
#   bash runs/quickstart.sh                      the embedded nano loop into out/nano: set-up once, then about 10 minutes
#   bash runs/quickstart.sh --out DIR --set a.b=c …      anything that `safekeel run` takes
#
# Run it again and it does nothing (seconds); interrupt it and it continues. Nothing is fetched but Python packages.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=_env.sh
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"

set_up train

out=out/nano
previous=""
for argument in "$@"; do
    [ "$previous" = --out ] && out="$argument"
    case "$argument" in
    --out=*) out="${argument#--out=}" ;;
    --help) exec "$VENV/bin/safekeel" run --help ;;
    esac
    previous="$argument"
done

say "safekeel run $* (the first time about 10 minutes on 2 cores; see $out)"
started=$SECONDS
"$VENV/bin/safekeel" run "$@"
say "Done in $(((SECONDS - started) / 60)) min $(((SECONDS - started) % 60)) s. Open $out/90-report/report.html (or read $out/90-report/report.md)."
