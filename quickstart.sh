#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
#
# From nothing to numbers: installs what is missing, builds the program, quantizes the bundled model
# at 4, 3 and 2 bits by rounding and by GPTQ, and measures each from the disk.
#   ./quickstart.sh               prints the table
#   ./quickstart.sh --json FILE   and writes its rows as a JSON array
# The program is left at build/cli/ql, the models in build/quickstart. A second run reuses both.
set -euo pipefail

json=
while [ $# -gt 0 ]; do
  case $1 in
  --json)
    [ $# -ge 2 ] || { echo "$0: --json needs a file name" >&2; exit 2; }
    json=$2
    shift 2
    ;;
  --json=*)
    json=${1#--json=}
    shift
    ;;
  -h | --help)
    sed -n '5,10s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
  *)
    echo "$0: unknown argument '$1'; try $0 --help" >&2
    exit 2
    ;;
  esac
done
case $json in
'' | /*) ;;
*) json=$PWD/$json ;;
esac
# Known now rather than after minutes.
if [ -n "$json" ] && { [ -d "$json" ] || [ ! -w "$(dirname "$json")" ]; }; then
  echo "$0: cannot write to $json" >&2
  exit 1
fi

cd "$(dirname "$0")"
# Debian's own tools, whatever a version manager has put before them on PATH.
export PATH=/usr/bin:$PATH LC_ALL=C
started=$SECONDS
model=examples/models/docs-5m
ql=build/cli/ql
work=build/quickstart

step() {
  printf '== %s\n' "$1" >&2
}

# quietly LOG COMMAND...: shows the log only if the command fails.
quietly() {
  local log=$1
  shift
  "$@" >"$log" 2>&1 || {
    tail -n 40 "$log" >&2
    echo "$0: failed: $*" >&2
    exit 1
  }
}

step "installing what is missing"
scripts/install-deps.sh build

step "building $ql"
mkdir -p build
[ -f build/build.ninja ] ||
  quietly build/quickstart-setup.log meson setup build --buildtype=release -Dtests=false -Dbench=false
quietly build/quickstart-build.log ninja -C build cli/ql

# Models of another build or another script are not reused.
mkdir -p "$work"
stamp=$(sha256sum "$0" "$ql" build/lib/libquantlib.so "$model"/* | sha256sum)
if [ "$(cat "$work/stamp" 2>/dev/null || true)" != "$stamp" ]; then
  rm -rf "$work"
  mkdir -p "$work"
  printf '%s\n' "$stamp" >"$work/stamp"
fi

# The evaluation text: the model's own, 72 texts of 250 tokens at temperature 1 from fixed seeds, none
# of them the calibration's. On text that a model draws itself the expected log of the perplexity
# lost is the KL divergence, so the two columns tell one story. --reproducible: the same text on
# every processor.
write_text() {
  local seed=1000 word
  for _ in 1 2 3 4 5 6 7 8 9; do
    for word in The This If When A To In For; do
      seed=$((seed + 1))
      "$ql" run "$model" -p "$word" -n 250 --temp 1 --seed $seed --reproducible --quiet
    done
  done
}
if [ ! -f "$work/text.txt" ]; then
  step "writing the evaluation text"
  write_text >"$work/text.part"
  mv "$work/text.part" "$work/text.txt"
fi

quantize() { # NAME OPTION...
  local out=$work/$1
  shift
  [ -d "$out" ] || "$ql" quantize "$model" -o "$out" --quiet "$@" >"$out.log"
}

field() { # KEY FILE: the value of a top-level number
  sed -n "s/^  \"$1\": \([0-9.eE+-]*\),\{0,1\}$/\1/p" "$2"
}

rows=
separator=
measure() { # DIRECTORY METHOD BITS GROUP
  local result=$work/eval.json group=$4 label=$2
  "$ql" eval "$1" --text "$work/text.txt" --ctx 256 --max-tokens 16384 --ref "$model" --json --quiet \
    >"$result"
  local bytes bits perplexity divergence speed
  bytes=$(field model_bytes "$result")
  bits=$(field bits_per_weight "$result")
  perplexity=$(field perplexity "$result")
  divergence=$(field kl_divergence "$result")
  speed=$(field tokens_per_second "$result")
  [ "$group" != null ] || label=original
  awk -v label="$label" -v bits="$3" -v group="$group" -v bytes="$bytes" -v bpw="$bits" \
    -v ppl="$perplexity" -v kl="$divergence" -v speed="$speed" 'BEGIN {
      printf "%-9s %4s %6s %9.2f MB %8.3f %11.3f %10.4f %10.0f\n", label, bits,
        group == "null" ? "-" : group, bytes / 1e6, bpw, ppl, kl, speed }'
  rows+="$separator  {\"method\": \"$2\", \"bits\": $3, \"group_size\": $group, \"model_bytes\": $bytes, "
  rows+="\"bits_per_weight\": $bits, \"perplexity\": $perplexity, \"kl_divergence\": $divergence, "
  rows+="\"tokens_per_second\": $speed}"
  separator=$',\n'
}

step "quantizing $model"
for bits in 4 3 2; do
  group=128
  [ $bits != 2 ] || group=64
  for method in rtn gptq; do
    quantize $method-$bits --method $method --bits $bits --group-size $group
  done
done

step "measuring on text that the model wrote (seeds 1001 to 1072, 16384 tokens, windows of 256)"
printf '%-9s %4s %6s %12s %8s %11s %10s %10s\n' method bits group size bits/w perplexity KL tokens/s
measure "$model" original 16 null
for bits in 4 3 2; do
  group=128
  [ $bits != 2 ] || group=64
  for method in rtn gptq; do
    measure "$work/$method-$bits" $method $bits $group
  done
done
if [ -n "$json" ]; then
  printf '[\n%s\n]\n' "$rows" >"$json"
fi

step "done in $((SECONDS - started)) s; the program is $ql, try:
   $ql run $work/gptq-4 -p 'The kernel' -n 64 --temp 0.8
   $ql quantize --help"
