#!/usr/bin/env bash
# How far predictions of latency are off on this machine, and whether a search under a limit finds
# networks that keep it: profiles of the shipped small space and of NAS-Bench-Macro's, one thread and
# one image, and a search of seconds under a limit that a third of the networks keep. Not a part of
# run.sh. Other programs on the same cores make errors larger; the profile says how much they disturbed.
#
#   bash tests/latency.sh [NETWORKS] [ROUNDS]      100 8
#
# PLEACH is the program (target/release/pleach), PLUGINS the folder of its plugins. Fails where a mean
# error is 10 % or more, or a network that was found takes longer than the limit.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

networks=${1:-100} rounds=${2:-8}
pleach=${PLEACH:-target/release/pleach}
plugins=${PLUGINS:-$(dirname "$pleach")}
[ -x "$pleach" ] || { echo "missing: $pleach (cargo build --release -p pleach -p pleach-gevonas -p pleach-datasets -p pleach-baselines -p pleach-supernet)" >&2; exit 2; }
work=$(mktemp -d "${WHERE:-${TMPDIR:-/tmp}}/pleach-latency.XXXXXX")
trap 'rm -rf "$work"' EXIT

# The space is all that is taken from the run files: images are made from a seed, and a candidate is
# ranked without training.
used='plugins=[gevonas, datasets, baselines, tabular, supernet]'
images='dataset={use: datasets/synthetic, with: {size: 32, train: 2000, classes: 10}}'
by='latency.by={use: supernet/latency, with: {device: cpu, threads: 1, batch: 1, take: least}}'
profile() {
  "$pleach" --plugin-dir "$plugins" profile "$2" --set "$used" "${@:3}" --set "$by" \
    --networks "$networks" --rounds "$rounds" --dir "$work/$1"
}

profile small examples/gevonas-cifar10-cpu.yaml --set "$images"
profile macro examples/compare-nas-bench-macro.yaml

limit=$(python3 - "$work"/{small,macro}/profile.json <<'PY'
import json, sys
profiles = [json.load(open(path)) for path in sys.argv[1:]]
for profile in profiles:
    error = profile["error"]
    if error["mean"] >= 0.1:
        sys.exit(f"{profile['name']}: the mean error is {error['mean']:.1%}")
times = sorted(network["milliseconds"] for network in profiles[0]["networks"])
print(round(times[len(times) // 3], 3))
PY
)
search=(examples/gevonas-cifar10-cpu.yaml --set "$used" --set "$images" --set "latency.profile=$work/small/profile.json"
  --set 'estimator={use: supernet/zero-cost, with: {device: cpu, threads: 1, proxies: [naswot], batch: 32}}' --set 'winner=null' --set random_networks=0
  --set 'strategy={use: baselines/regularized-evolution, with: {population: 20, sample: 5, evaluations: 100, epochs: 0}}')
"$pleach" --plugin-dir "$plugins" run "${search[@]}" --set "objectives={naswot: maximise, latency: {at_most: $limit}}" --dir "$work/bounded" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
"$pleach" --plugin-dir "$plugins" run "${search[@]}" --set 'objectives={naswot: maximise}' --dir "$work/free" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
"$pleach" --plugin-dir "$plugins" profile "$work/bounded" --rounds "$rounds"
"$pleach" --plugin-dir "$plugins" profile "$work/free" --rounds "$rounds"
"$pleach" --json --plugin-dir "$plugins" profile "$work/bounded" --rounds "$rounds" | python3 -c '
import json, sys
found = json.load(sys.stdin)["found"]
beyond = [network for network in found["networks"] if not network["keeps_limit"]]
count, limit = len(found["networks"]), found["limit"]
print(f"\n{count - len(beyond)} of {count} networks that were found keep the limit of {limit} ms")
sys.exit(1 if beyond else 0)'
