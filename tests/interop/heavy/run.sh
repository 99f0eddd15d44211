#!/bin/sh
# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
#
# The heavy interoperation tests, with torch, transformers and gptqmodel from PyPI:
#   tests/interop/heavy/run.sh BUILD             compare
#   tests/interop/heavy/run.sh BUILD --record    and write anew what the light tests compare with
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
[ $# -ge 1 ] && [ -d "$1" ] || { echo "usage: $0 BUILD [--record]" >&2; exit 2; }
build=$(cd "$1" && pwd)
python=$("$here/../venv.sh" heavy) || exit $?
# CPU only, no network, no chatter; gptqmodel would otherwise compile kernels of its own for minutes.
export PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 CUDA_VISIBLE_DEVICES= \
  HF_HUB_DISABLE_PROGRESS_BARS=1 TRANSFORMERS_VERBOSITY=error TQDM_DISABLE=1 PYTHONWARNINGS=ignore TORCHDYNAMO_DISABLE=1
failed=0
echo "== models in transformers"
"$python" "$here/record_models.py" "$root" ${2:-} || failed=1
echo "== checkpoints of ql in transformers and gptqmodel"
"$python" "$here/check_checkpoints.py" "$build/cli/ql" "$build/tests/interop/ql_interop" "$root" || failed=1
exit $failed
