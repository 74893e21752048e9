#!/usr/bin/env bash
# From a folder of images to a network that says what a picture shows: makes a small folder of photographs
# (ten classes of Tiny-ImageNet, 1,000 to learn from and 250 to be judged by), runs the five commands of
# README.md's "Your own images" exactly as they stand there, and prints how long each took. Checks that
# the exported network is better than chance on images that it has not seen. Not a part of run.sh: it
# takes minutes, and a release build.
#
#   bash tests/newcomer.sh
#
# PLEACH_TEST_DATA has the folder tiny-imagenet (../shared/data); PLEACH is a program that is built already,
# with its plugins beside it, and spares the first command. ONNX Runtime for the last command comes from
# PyPI, into target/newcomer.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
checkout=$PWD
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

photographs=${PLEACH_TEST_DATA:-../shared/data}/tiny-imagenet
if [ ! -f "$photographs/words.txt" ]; then
  echo "SKIPPED: $photographs is not there; set PLEACH_TEST_DATA to the folder that has tiny-imagenet"
  exit 0
fi
mapfile -t commands < <(sed -n '/^### Your own images/,/^##/p' README.md | sed -n '/^```sh/,/^```/p' | grep -v '^```' | sed 's/ *#.*//')
[ "${#commands[@]}" = 5 ] || { echo "README.md has ${#commands[@]} commands and not five" >&2; exit 1; }
if ! target/newcomer/bin/python3 -c 'import numpy, onnxruntime, PIL' 2>/dev/null; then
  echo "getting ONNX Runtime and Pillow from PyPI"
  python3 -m venv target/newcomer
  target/newcomer/bin/python3 -m pip install --quiet --no-cache-dir --disable-pip-version-check numpy onnxruntime pillow
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/pleach-newcomer.XXXXXX")
trap 'rm -rf "$work"' EXIT
images=$work/data/my-images
head -10 "$photographs/words.txt" | while IFS=$'\t' read -r folder words; do
  name=$(sed 's/,.*//; s/ /-/g' <<<"$words")
  for split in train val; do
    mkdir -p "$images/$split"
    cp -r "$photographs/$split/$folder" "$images/$split/$name"
  done
done
some=$(find "$images/val" -type f | sort | head -1)
cp "$some" "$work/image.jpg"

TIMEFORMAT='%R %U %S'
times=()
step() { # folder, command
  local log=$work/log code=0 took
  printf '\n$ %s\n' "$2"
  { time (cd "$1" && PATH=$checkout/target/newcomer/bin:$PATH bash -c "$2" >"$log" 2>&1); } 2>"$work/time" || code=$?
  [ "$code" = 0 ] || { tail -30 "$log" >&2; exit 1; }
  tail -12 "$log"
  took=$(awk '{ printf "%6.0f s, %6.0f s of processors", $1, $2 + $3 }' "$work/time")
  times+=("$took   $2")
}
if [ -z "${PLEACH:-}" ]; then
  step "$checkout" "${commands[0]}"
  PLEACH=$checkout/target/release/pleach
fi
# The other commands know the checkout by these two.
mkdir -p "$work/target/release"
ln -s "$(realpath "$PLEACH")" "$work/target/release/pleach"
ln -s "$checkout/examples" "$work/examples"
for command in "${commands[@]:1}"; do step "$work" "$command"; done

printf '\nTime of each:\n'
printf '%s\n' "${times[@]}"
echo "$(find "$images/train" -type f | wc -l) training images, $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg)"

[ -s "$work/runs/my-images/report.html" ] || { echo "there is no report" >&2; exit 1; }
target/newcomer/bin/python3 - "$work" <<'PYTHON'
import json
import pathlib
import subprocess
import sys

work = pathlib.Path(sys.argv[1])
export = work / "runs/my-images/training/export"
files = sorted((work / "data/my-images/val").glob("*/*"))
said = subprocess.run([sys.executable, export / "predict_onnx.py", *files], check=True, capture_output=True, text=True)
answers = [line.split(": ")[1].split(" ")[0] for line in said.stdout.splitlines()]
right = sum(answer == file.parent.name for answer, file in zip(answers, files, strict=True)) / len(files)
known = json.loads((export.parent / "training.json").read_text())["measured"]["accuracy"]["mean"]
classes = len(set(file.parent.name for file in files))
print(f"{right:.1%} of {len(files)} images of {classes} classes that it has not seen, {known:.1%} when its training ended")
if abs(right - known) > 0.02:
    sys.exit("the exported network does not see what the trained one saw")
if right < 3 / classes:
    sys.exit("that is no better than three times chance")
PYTHON
