#!/usr/bin/env bash
# Coverage-guided fuzzing of everything that reads what others wrote: the run file, network
# descriptions, genomes and regions, checkpoints, the journal, the worker protocol, data-set files.
# Needs Rust nightly and gets cargo-fuzz from crates.io into target/tools. Not a part of run.sh.
#
#   bash tests/fuzz.sh [SECONDS [TARGET...]]      60 seconds for each target, one after the other
#   EXECUTIONS=10000000 bash tests/fuzz.sh        so many executions of each, however long they take
#
# Says the executions of each target. A crash, a hang over a second or memory over 1 GiB ends
# with 1 and leaves the input in tests/fuzz/artifacts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

limit=-max_total_time=${1:-60}
[ -z "${EXECUTIONS:-}" ] || limit=-runs=$EXECUTIONS
shift || true
tools=$PWD/target/tools
fuzz=tests/fuzz
rustc +nightly --version >/dev/null 2>&1 || { echo "missing: Rust nightly (rustup toolchain install nightly)" >&2; exit 2; }
[ -x "$tools/bin/cargo-fuzz" ] || cargo install --quiet --locked --root "$tools" cargo-fuzz
export PATH=$tools/bin:$PATH

mapfile -t targets < <(if [ $# -gt 0 ]; then printf '%s\n' "$@"; else cargo +nightly fuzz list --fuzz-dir "$fuzz"; fi)
# Comparisons are not followed: half as many executions again in the same time.
flags=(--sanitizer none --no-trace-compares)
# The versions of everything else.
cp Cargo.lock "$fuzz/Cargo.lock"
cargo +nightly fuzz build --fuzz-dir "$fuzz" "${flags[@]}"
failed=0
# What targets of processes that are over have left; others may fuzz at the same time.
tidy() {
  local folder
  for folder in /dev/shm/pleach-fuzz-*; do
    [ -d "/proc/${folder##*-}" ] || rm -rf "$folder"
  done
}
trap tidy EXIT
for target in "${targets[@]}"; do
  begun=$SECONDS
  printf '\n== [%4d s] %s\n' "$SECONDS" "$target"
  mkdir -p "$fuzz/corpus/$target" "$fuzz/seeds/$target"
  seeds=("$fuzz/seeds/$target")
  [ "$target" = description ] && seeds+=(plugins/supernet/src/tests/networks)
  log=$(mktemp)
  cargo +nightly fuzz run --fuzz-dir "$fuzz" "${flags[@]}" "$target" "$fuzz/corpus/$target" "${seeds[@]}" -- \
    "$limit" -timeout=1 -rss_limit_mb=1024 -max_len=8192 -dict="$fuzz/words.dict" \
    -print_final_stats=1 >"$log" 2>&1 || { failed=1; tail -40 "$log"; }
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -1)
  memory=$(sed -n 's/^stat::peak_rss_mb: *//p' "$log" | tail -1)
  printf '%12s executions in %s s, peak %s MB\n' "${runs:-no}" "$((SECONDS - begun))" "${memory:-?}"
  rm -f "$log"
done
exit $failed
