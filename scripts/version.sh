#!/bin/sh
# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
# Prints the version that include/quantlib/version.h states: the only place where it stands.
sed -n 's/^#define QL_API_VERSION_[A-Z]* \([0-9]*\)$/\1/p' "$(dirname "$0")/../include/quantlib/version.h" |
  paste -sd. -
