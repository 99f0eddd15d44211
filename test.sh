#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
#
# Installs what is missing, builds, and runs all tests. Ends with "N passed, N failed, N skipped".
#   ./test.sh           everything that needs no gigabytes: the default, and what CI runs
#   ./test.sh --quick   the native build alone
#   ./test.sh --full    and the heavy interoperation tests (torch, transformers from PyPI)
set -u
cd "$(dirname "$0")"

mode=default
case "${1:-}" in
'') ;;
--quick) mode=quick ;;
--full) mode=full ;;
*)
  sed -n '5,9s/^# \{0,1\}//p' "$0" >&2
  exit 2
  ;;
esac

# Debian's own tools, whatever a version manager has put before them on PATH.
export PATH=/usr/bin:$PATH LC_ALL=C.UTF-8
scripts/install-deps.sh test || exit 1

summary=$PWD/build-test-summary
rm -rf "$summary"
mkdir -p "$summary"

note() { # note STAGE ok|fail|skip TEXT: one more test of its own
  printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>"$summary/notes.tsv"
}

# stage NAME MESON-SETUP-OPTION... -- MESON-TEST-OPTION...
# Configures and builds in build-NAME (warnings are errors) and runs its tests.
stage() {
  local name=$1 dir=build-$1 options=()
  shift
  while [ "$1" != -- ]; do
    options+=("$1")
    shift
  done
  shift
  local start=$SECONDS
  echo "== $name: meson setup ${options[*]}"
  local reconfigure=()
  [ -f "$dir/build.ninja" ] && reconfigure=(--reconfigure)
  if ! meson setup "$dir" "${reconfigure[@]}" -Dwerror=true "${options[@]}" >"$summary/$name.setup" 2>&1; then
    tail -n 30 "$summary/$name.setup"
    note "$name" fail 'meson setup'
    return
  fi
  if ! ninja -C "$dir" >"$summary/$name.build" 2>&1; then
    grep -A 12 -E 'FAILED|error' "$summary/$name.build" | head -n 60
    note "$name" fail build
    return
  fi
  note "$name" ok build
  rm -f "$dir/meson-logs/testlog.json"
  meson test -C "$dir" --no-rebuild --print-errorlogs "$@" 2>&1 | tee "$summary/$name.test" |
    grep -vE '^(ninja|Full log)' | tail -n 400
  [ -f "$dir/meson-logs/testlog.json" ] && cp "$dir/meson-logs/testlog.json" "$summary/$name.json"
  echo "== $name: $((SECONDS - start)) s"
}

stage native -Dbuildtype=release -- --timeout-multiplier 3
if [ "$mode" != quick ]; then
  CC=clang stage clang -Dbuildtype=debugoptimized -- --suite kernels --suite algo --suite format \
    --timeout-multiplier 5
  # Leaks and overflows. Installation, interoperation and the checks of the source are the same there;
  # the tests that quantize many times would take too long.
  ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
    stage sanitize -Dbuildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false -- \
    --no-suite install --no-suite interop --no-suite checks --no-suite slow --timeout-multiplier 10
  TSAN_OPTIONS=halt_on_error=1 \
    stage tsan -Dbuildtype=debugoptimized -Db_sanitize=thread -Db_lundef=false -- \
    --suite threads --suite runtime --suite stats --suite linalg --suite kernels \
    --timeout-multiplier 10
  stage runtime -Dbuildtype=release -Dquantizers=false -- --suite runtime --suite kernels \
    --timeout-multiplier 3
  stage aarch64 --cross-file cross/aarch64-linux-gnu.ini -Dbuildtype=release -Dquantizers=false \
    -Dprograms=false -Dio=false -- --suite kernels --timeout-multiplier 20
  # The emulator's best processor above has every level; others must be told apart.
  for cpu in cortex-a53:scalar,neon cortex-a76:scalar,neon,neondot max:scalar,neon,neondot,neoni8mm; do
    levels=${cpu#*:}
    # shellcheck disable=SC2086
    if qemu-aarch64 -cpu "${cpu%%:*}" -L /usr/aarch64-linux-gnu build-aarch64/tests/kernels/test_isa \
      ${levels//,/ }; then
      note aarch64 ok "levels of ${cpu%%:*}"
    else
      note aarch64 fail "levels of ${cpu%%:*}"
    fi
  done
fi
if [ "$mode" = full ]; then
  tests/interop/heavy/run.sh build-native
  case $? in
  0) note heavy ok 'torch and transformers' ;;
  77) note heavy skip 'torch and transformers cannot be had; the reason is above' ;;
  *) note heavy fail 'torch and transformers' ;;
  esac
fi

# Set by .ci/run.
exec python3 scripts/summarize_tests.py "$summary" ${QL_TEST_MUST_RUN:+--must-run}
