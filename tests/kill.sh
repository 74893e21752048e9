#!/usr/bin/env bash
# Kills runs at random moments, again and again until each is done, and holds every result against
# that of a run that nothing happened to. Then the same with a flipped byte after each kill, with
# workers killed instead of the search, and on a file system that is full most of the time. Not a part
# of run.sh: it takes minutes, and half an hour where others keep the cores busy.
#
#   bash tests/kill.sh [RUNS] [SEED] [PART...]       200 runs, seed 1, search, bytes, workers and disk;
#                                                    ray too where it is named: a fortieth of the runs
#
# PLEACH is the program (target/debug/pleach), PLUGINS the folder of its plugins beside
# target/debug/deps, SUPERNET=1 searches on the SuperNet, WHERE is a folder to work in,
# RAY a Python that has Ray.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

runs=${1:-200}
seed=${2:-1}
shift $(($# < 2 ? $# : 2))
parts=("$@")
[ $# -gt 0 ] || parts=(search bytes workers disk)
RANDOM=$seed
pleach=${PLEACH:-target/debug/pleach}
plugins=${PLUGINS:-target/debug/deps}
[ -x "$pleach" ] || { echo "missing: $pleach (cargo build -p pleach; cargo test -p pleach-tests --no-run)" >&2; exit 2; }
work=$(mktemp -d "${WHERE:-${TMPDIR:-/tmp}}/pleach-kill.XXXXXX")
mounted=$work/disk
cleanup() {
  mountpoint -q "$mounted" 2>/dev/null && umount "$mounted"
  rm -rf "$work"
}
trap cleanup EXIT

say() { printf '\n== [%4d s] %s\n' "$SECONDS" "$1"; }
milliseconds() { echo $(($(date +%s%N) / 1000000)); }
# A number from 0 to $1 - 1.
below() { echo $(((RANDOM * 32768 + RANDOM) % $1)); }

sets=(--set name=killed --set checkpoint_every=0s)
if [ "${SUPERNET:-}" = 1 ]; then
  library=$(dirname "$pleach")/libpleach_supernet.so
  sets+=(--set "plugins=[gevonas, datasets, $library]"
    --set "estimator={use: supernet/weight-sharing, with: {device: cpu, threads: 2, batch: 32, held_out: 100, batch_norm: {recalibration_images: 64}}}")
fi

# A result but for the times, which depend on the machine.
result() { python3 -c 'import json,sys; r=json.load(open(sys.argv[1])); r.pop("times"); print(json.dumps(r))' "$1/result.json"; }
run=("$pleach" --plugin-dir "$plugins" run tests/small.yaml "${sets[@]}")
# Starts or goes on with a run for so many milliseconds; its exit code, 137 if it was killed.
for_a_while() {
  local limit=$1 directory=$2 code=0
  shift 2
  local command=("${run[@]}" --dir "$directory")
  [ -f "$directory/run.json" ] && command=("$pleach" --plugin-dir "$plugins" resume "$directory" "$@")
  # In a shell of its own, whose word about the killed process nobody needs.
  (
    timeout --signal=KILL "$((limit / 1000)).$(printf %03d $((limit % 1000)))" \
      "${command[@]}" >>"$work/output" 2>&1
    exit $?
  ) 2>/dev/null || code=$?
  return $code
}
# Changes one byte of a file of the last checkpoint.
flip() {
  local last files file
  last=$(find "$1/checkpoints" -maxdepth 1 -name 'step-*' | sort | tail -1)
  [ -n "$last" ] || return 0
  mapfile -t files < <(find "$last" -type f -size +0)
  file=${files[$(below ${#files[@]})]}
  python3 -c 'import sys; f=open(sys.argv[1],"r+b"); b=f.read(); i=int(sys.argv[2])%len(b); f.seek(i); f.write(bytes([b[i]^(1<<int(sys.argv[3]))]))' \
    "$file" "$(below 1000000)" "$(below 8)"
  flips=$((flips + 1))
}
fail() { echo "FAILED: $1 (seed $seed)" >&2; tail -20 "$work/output" >&2; exit 1; }

say "a run that nothing happens to"
begun=$(milliseconds)
"${run[@]}" --dir "$work/whole" >"$work/output" 2>&1 || fail "the undisturbed run"
took=$(($(milliseconds) - begun))
expected=$(result "$work/whole")
echo "it took $took ms; kills come within half of that"

search() {
  say "$runs runs, killed until they are done"
  kills=0 in_checkpoint=0 before_begin=0 most=0
  for number in $(seq "$runs"); do
    directory=$work/killed own=0
    until for_a_while $(($(below $((took / 2))) + 1)) "$directory"; do
      code=$?
      [ $code = 137 ] || fail "run $number ended with exit code $code"
      own=$((own + 1))
      [ -d "$directory/checkpoints/partial" ] && in_checkpoint=$((in_checkpoint + 1))
      [ -f "$directory/run.json" ] || before_begin=$((before_begin + 1))
    done
    [ "$(result "$directory")" = "$expected" ] || fail "run $number has another result"
    kills=$((kills + own)) most=$((own > most ? own : most))
    rm -rf "$directory"
  done
  echo "$runs runs, $kills kills (at most $most in one run), $in_checkpoint while a checkpoint was written," \
    "$before_begin before the run had begun: all results are equal"
}

bytes() {
  say "$((runs / 4)) runs with a byte flipped in the last checkpoint after each kill"
  kills=0 flips=0
  for number in $(seq $((runs / 4))); do
    directory=$work/flipped
    until for_a_while $(($(below $((took / 2))) + took / 8)) "$directory" --from-the-start; do
      code=$?
      [ $code = 137 ] || fail "run $number ended with exit code $code"
      kills=$((kills + 1))
      [ -d "$directory/checkpoints" ] && flip "$directory"
    done
    [ "$(result "$directory")" = "$expected" ] || fail "run $number has another result"
    rm -rf "$directory"
  done
  echo "$((runs / 4)) runs, $kills kills, $flips flipped bytes: all results are equal"
}

# Searches RUNS times in a row with an executor while workers are killed, after pauses below LONGEST
# milliseconds; the rest says which processes `pgrep` takes for workers. SEARCH in it is the search.
hunt() {
  local many=$1 longest=$2 executor=$3 number search directory=$work/hunted pause kills=0
  shift 3
  for number in $(seq "$many"); do
    "${run[@]}" --dir "$directory" --set "${executor//NUMBER/$((number % 2 + 1))}" "${slow[@]}" >>"$work/output" 2>&1 &
    search=$!
    while kill -0 $search 2>/dev/null; do
      pause=$(below "$longest")
      sleep "$((pause / 1000)).$(printf %03d $((pause % 1000)))"
      mapfile -t children < <(pgrep "${@//SEARCH/$search}" || true)
      [ ${#children[@]} -gt 0 ] || continue
      kill -KILL "${children[$(below ${#children[@]})]}" 2>/dev/null && kills=$((kills + 1))
    done
    wait $search || fail "run $number ended with exit code $?"
    [ "$(result "$directory")" = "$expected" ] || fail "run $number has another result"
    rm -rf "$directory"
  done
  echo "$many runs, $kills workers killed: all results are equal"
}

workers() {
  say "$((runs / 4)) runs whose workers are killed, of which one or two are at work"
  slow=()
  hunt $((runs / 4)) 900 'executor={use: processes, with: {workers: NUMBER, retries: 0}}' -P SEARCH -f ' worker'
}

ray() {
  say "$((runs / 40)) runs on Ray, whose workers are killed every second or two"
  slow=(--set estimator.with.badly=slow)
  hunt $((runs / 40)) 2000 "executor={use: ray, with: {workers: 2, retries: 0, python: ${RAY:?a Python that has Ray}}}" \
    -f 'pleach worker --descriptor'
}

disk() {
  mkdir "$mounted"
  if ! mount -t tmpfs -o size=64k none "$mounted" 2>/dev/null; then
    say "SKIPPED: full disks need a tmpfs, which only root can mount"
    return
  fi
  umount "$mounted"
  size=$(du -sk "$work/whole" | cut -f1)
  say "$((runs / 4)) runs on a disk that is full until it is made larger"
  full=0
  for number in $(seq $((runs / 4))); do
    room=$((16 + $(below "$size")))
    mount -t tmpfs -o "size=${room}k" none "$mounted"
    directory=$mounted/run
    until for_a_while 600000 "$directory"; do
      code=$?
      [ $code = 4 ] || fail "run $number ended with exit code $code on $room KiB"
      full=$((full + 1)) room=$((room + 4 + $(below 40)))
      mount -o "remount,size=${room}k" "$mounted"
    done
    [ "$(result "$directory")" = "$expected" ] || fail "run $number has another result"
    umount "$mounted"
  done
  echo "$((runs / 4)) runs, $full times no room: all results are equal"
}

for part in "${parts[@]}"; do
  case $part in
    search | bytes | workers | disk | ray) "$part" ;;
    *) echo "unknown part: $part (search, bytes, workers, disk, ray)" >&2; exit 2 ;;
  esac
done
say "all results are equal"
