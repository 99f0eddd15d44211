#!/bin/sh
# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
#
# Runs a test with the python of the light environment: tests/interop/run.sh TEST.py ARGUMENTS
python=$("$(dirname "$0")/venv.sh" light) || exit $?
# numpy's products are small here: on busy processors its threads wait for each other longer than they
# work.
OPENBLAS_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1 exec "$python" "$@"
