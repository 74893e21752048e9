#!/usr/bin/env bash
# From an empty folder to a finished search that used a new operator, in three commands: how long it takes
# a stranger who has the program and a cargo cache that is warm.
#
#   bash tests/stranger.sh
#
# PLEACH is the program (target/release/pleach), with the shipped plugins beside it.
set -euo pipefail
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
pleach=${PLEACH:-$checkout/target/release/pleach}
[ -x "$pleach" ] || { echo "missing: $pleach (cargo build --release)" >&2; exit 2; }
work=$(mktemp -d "${TMPDIR:-/tmp}/pleach-stranger.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
step() {
  local begun=$SECONDS
  printf '$ %s\n' "$*"
  "$@" >"$work/output" 2>&1 || { tail -30 "$work/output" >&2; exit 1; }
  printf '  %d s\n' $((SECONDS - begun))
}

begun=$SECONDS
step "$pleach" plugins new my-operator --kind operator --sdk-path "$checkout/sdk"
cd my-operator
step cargo build --offline
step "$pleach" --plugin-dir target/debug run run.yaml
took=$((SECONDS - begun))
children=$(grep -o '"by":"my-operator/redraw"' runs/*/events.jsonl | wc -l)
[ "$children" -gt 0 ] || { echo "the operator made no child" >&2; exit 1; }
echo "$took s from an empty folder to a finished search with $children children of the new operator"
[ "$took" -lt 120 ] || { echo "that is more than two minutes" >&2; exit 1; }
