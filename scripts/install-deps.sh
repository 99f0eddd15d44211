#!/bin/sh
# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
#
# Installs the Debian packages that are missing: the one list of what the project needs.
#   scripts/install-deps.sh build    what the library and the program need
#   scripts/install-deps.sh test     the same and what the tests need
# Does nothing when all are there. Uses sudo when it is not run by root.
set -eu

# dpkg-dev tells meson where Debian keeps libraries; without it they would go to lib64, unfound.
build='gcc libc6-dev dpkg-dev meson ninja-build pkg-config libopenblas-dev liblapacke-dev
libjansson-dev libpcre2-dev libutf8proc-dev'
test='clang g++ gfortran make cmake libcmocka-dev python3 python3-venv gcc-aarch64-linux-gnu
libc6-dev-arm64-cross qemu-user man-db libclang-rt-14-dev binutils git'

case "${1:-}" in
build) wanted=$build ;;
test) wanted="$build $test" ;;
*)
  echo "usage: $0 build|test" >&2
  exit 2
  ;;
esac

missing=
for package in $wanted; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
  echo "$0: no apt-get here; install what these Debian packages hold:$missing" >&2
  exit 1
fi
as_root=
if [ "$(id -u)" != 0 ]; then
  if ! command -v sudo >/dev/null 2>&1; then
    echo "$0: not root and no sudo; as root, run: apt-get install$missing" >&2
    exit 1
  fi
  as_root=sudo
fi
echo "installing:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
# The lists may be old or missing; try without, then with fresh ones.
# shellcheck disable=SC2086
$as_root apt-get install -y -q --no-install-recommends $missing >/dev/null 2>&1 || {
  $as_root apt-get update -q >&2
  $as_root apt-get install -y -q --no-install-recommends $missing >&2
}
