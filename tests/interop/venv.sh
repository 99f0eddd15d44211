#!/bin/sh
# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
#
# Makes the virtual environment of the interoperation tests, or finds it ready, and prints the path
# of its python. Versions are pinned. When the packages cannot be had: "SKIP: reason", exit code 77.
#   tests/interop/venv.sh light    a few small packages, into .venv-interop
#   tests/interop/venv.sh heavy    torch and transformers, gigabytes, into .venv-heavy
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
kind=${1:-}
case "$kind" in
light) list=$here/requirements.txt dir=$root/.venv-interop flags=--no-deps needs=1 ;;
heavy) list=$here/heavy/requirements.txt dir=$root/.venv-heavy flags= needs=12 ;;
*)
  echo "usage: $0 light|heavy" >&2
  exit 2
  ;;
esac

failed=$dir/failed
skip() {
  echo "SKIP: the interoperation tests (${kind} packages) cannot run: $1" | tee "$failed" >&2
  exit 77
}

# Tests start at the same time: one of them builds, the others wait. When that failed they do not
# try again for some minutes.
mkdir -p "$dir" && exec 9>"$dir/lock" || exit 1
flock 9
stamp=$dir/complete
if cmp -s "$list" "$stamp" && [ -x "$dir/bin/python" ]; then
  echo "$dir/bin/python"
  exit 0
fi
if [ -n "$(find "$failed" -mmin -5 2>/dev/null)" ]; then
  cat "$failed" >&2
  exit 77
fi
free=$(df -Pk "$root" | awk 'NR == 2 { print int($4 / 1048576) }')
[ "$free" -ge "$needs" ] || skip "$needs GiB of disk are needed, $free are free"
log=$dir/log
[ -x "$dir/bin/python" ] || python3 -m venv "$dir" >"$log" 2>&1 ||
  skip "python3 -m venv fails: $(tail -n 1 "$log")"
# shellcheck disable=SC2086
"$dir/bin/python" -m pip install -q --disable-pip-version-check --retries 2 --timeout 20 $flags \
  -r "$list" >"$log" 2>&1 || skip "pip cannot install them: $(grep -i error "$log" | tail -n 1)"
cp "$list" "$stamp"
rm -f "$failed"
echo "$dir/bin/python"
