# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
# Completion of ql for bash. Made by 'ql help --bash' from the table of options: do not edit.
_ql_files() {
  compopt -o filenames
  mapfile -t COMPREPLY < <(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")
}
_ql() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} words=
  COMPREPLY=()
  if [ "$COMP_CWORD" = 1 ]; then
    words="--help --version"
    words+=" quantize"
    words+=" plan"
    words+=" pack"
    words+=" eval"
    words+=" run"
    words+=" inspect"
    words+=" diff"
    words+=" bench"
    words+=" methods"
    words+=" version"
    words+=" help"
  else
    case "${COMP_WORDS[1]}:$before" in
    quantize:--output|quantize:-o) _ql_files; return ;;
    quantize:--method) return ;;
    quantize:--set) return ;;
    quantize:--bits|quantize:-b) return ;;
    quantize:--group-size|quantize:-g) return ;;
    quantize:--act-bits) return ;;
    quantize:--act) words="token tensor static" ;;
    quantize:--alpha) return ;;
    quantize:--act-order) words="auto none act static group-aware" ;;
    quantize:--damp) return ;;
    quantize:--mse) return ;;
    quantize:--drift) return ;;
    quantize:--token-weights) return ;;
    quantize:--salient) return ;;
    quantize:--salient-type) words="f16 int8" ;;
    quantize:--columns) return ;;
    quantize:--eora) return ;;
    quantize:--calib) _ql_files; return ;;
    quantize:--imatrix) _ql_files; return ;;
    quantize:--save-imatrix) _ql_files; return ;;
    quantize:--calib-tokens) return ;;
    quantize:--seq-len) return ;;
    quantize:--seed) return ;;
    quantize:--format) words="auto gptq gptq_v2 int-quantized hqq" ;;
    quantize:--plan) _ql_files; return ;;
    quantize:--target-bpw) return ;;
    quantize:--target-size) return ;;
    quantize:--target-tokens-per-second) return ;;
    quantize:--candidates) return ;;
    quantize:--groups) return ;;
    quantize:--tie) words="both qkv gate-up none" ;;
    quantize:--skip) return ;;
    quantize:--layer) return ;;
    quantize:--threads) return ;;
    quantize:--isa) return ;;
    plan:--output|plan:-o) _ql_files; return ;;
    plan:--target-bpw) return ;;
    plan:--target-size) return ;;
    plan:--target-tokens-per-second) return ;;
    plan:--candidates) return ;;
    plan:--groups) return ;;
    plan:--tie) words="both qkv gate-up none" ;;
    plan:--kl-bits) return ;;
    plan:--kl-sequences) return ;;
    plan:--from) _ql_files; return ;;
    plan:--method) return ;;
    plan:--set) return ;;
    plan:--mse) return ;;
    plan:--calib) _ql_files; return ;;
    plan:--calib-tokens) return ;;
    plan:--seq-len) return ;;
    plan:--seed) return ;;
    plan:--format) words="auto gptq gptq_v2" ;;
    plan:--skip) return ;;
    plan:--layer) return ;;
    plan:--threads) return ;;
    plan:--isa) return ;;
    pack:--output|pack:-o) _ql_files; return ;;
    pack:--threads) return ;;
    pack:--isa) return ;;
    eval:--text) _ql_files; return ;;
    eval:--ctx) return ;;
    eval:--stride) return ;;
    eval:--max-tokens) return ;;
    eval:--ref) _ql_files; return ;;
    eval:--packed) _ql_files; return ;;
    eval:--choices) _ql_files; return ;;
    eval:--generate) _ql_files; return ;;
    eval:--limit) return ;;
    eval:--gen-tokens) return ;;
    eval:--stop) return ;;
    eval:--extract) return ;;
    eval:--details) _ql_files; return ;;
    eval:--compute) words="f32 a16 a8" ;;
    eval:--head-bits) return ;;
    eval:--threads) return ;;
    eval:--isa) return ;;
    run:--prompt|run:-p) return ;;
    run:--tokens|run:-n) return ;;
    run:--temp) return ;;
    run:--top-p) return ;;
    run:--seed) return ;;
    run:--compute) words="f32 a16 a8" ;;
    run:--head-bits) return ;;
    run:--packed) _ql_files; return ;;
    run:--threads) return ;;
    run:--isa) return ;;
    inspect:--text) _ql_files; return ;;
    inspect:--outlier-multiple) return ;;
    inspect:--ctx) return ;;
    inspect:--max-tokens) return ;;
    inspect:--threads) return ;;
    inspect:--isa) return ;;
    diff:--text) _ql_files; return ;;
    diff:--ctx) return ;;
    diff:--max-tokens) return ;;
    diff:--threads) return ;;
    diff:--isa) return ;;
    bench:--op) return ;;
    bench:--shape) return ;;
    bench:--m|bench:-m) return ;;
    bench:--compute) return ;;
    bench:--state) return ;;
    bench:--act) return ;;
    bench:--group) return ;;
    bench:--original) return ;;
    bench:--seconds) return ;;
    bench:--cold-mib) return ;;
    bench:--threads) return ;;
    bench:--isa) return ;;
    methods:--threads) return ;;
    methods:--isa) return ;;
    version:--threads) return ;;
    version:--isa) return ;;
    help:--threads) return ;;
    help:--isa) return ;;
    esac
  fi
  if [ -z "$words" ]; then
    [[ $word == -* ]] || { _ql_files; return; }
    case "${COMP_WORDS[1]}" in
    quantize) words=" --output -o --method --set --bits -b --group-size -g --per-tensor --act-bits --act --act-sym --act-asym --alpha --smooth-online --sym --asym --float-zero --act-order --damp --mse --drift --drift-residual --token-weights --refit-gains --refit-biases --salient --salient-type --columns --eora --calib --imatrix --save-imatrix --calib-tokens --seq-len --seed --format --plan --target-bpw --target-size --target-tokens-per-second --candidates --groups --tie --skip --layer --overwrite --threads --isa --reproducible --json --quiet -q --verbose -v --help -h" ;;
    plan) words=" --output -o --target-bpw --target-size --target-tokens-per-second --candidates --groups --tie --measure-kl --kl-bits --kl-sequences --measure-speed --from --method --set --sym --asym --mse --calib --calib-tokens --seq-len --seed --format --skip --layer --overwrite --threads --isa --reproducible --json --quiet -q --verbose -v --help -h" ;;
    pack) words=" --output -o --threads --isa --reproducible --json --quiet -q --verbose -v --help -h" ;;
    eval) words=" --text --ctx --stride --max-tokens --ref --packed --by-position --choices --generate --limit --gen-tokens --stop --extract --details --compute --head-bits --threads --isa --reproducible --json --quiet -q --verbose -v --help -h" ;;
    run) words=" --prompt -p --tokens -n --temp --top-p --seed --compute --head-bits --packed --threads --isa --reproducible --json --quiet -q --verbose -v --help -h" ;;
    inspect) words=" --no-statistics --text --outlier-multiple --ctx --max-tokens --threads --isa --reproducible --json --quiet -q --verbose -v --help -h" ;;
    diff) words=" --text --own-inputs --ctx --max-tokens --threads --isa --reproducible --json --quiet -q --verbose -v --help -h" ;;
    bench) words=" --quick --op --shape --m -m --compute --state --act --group --original --seconds --cold-mib --threads --isa --reproducible --json --quiet -q --verbose -v --help -h" ;;
    methods) words=" --threads --isa --reproducible --json --quiet -q --verbose -v --help -h" ;;
    version) words=" --threads --isa --reproducible --json --quiet -q --verbose -v --help -h" ;;
    help) words=" --man --bash --threads --isa --reproducible --json --quiet -q --verbose -v --help -h" ;;
    esac
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -F _ql ql
