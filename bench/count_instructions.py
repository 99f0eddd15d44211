#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""Counts the instructions of the inner loops of the integer core: for each kernel and number of
rows, those of one pass of the loop per 1,000 multiply-adds. A count says nothing about time; it is
what there is for levels that no machine at hand can run.

  bench/count_instructions.py --objdump aarch64-linux-gnu-objdump BUILD/kernels/libqlk_neondot.a
"""
import argparse
import re
import subprocess
import sys

# Multiply-adds of one instruction, by the bytes of a register. Others only add up or widen.
DOTS = {
    'sdot': 1, 'udot': 1, 'usdot': 1, 'smmla': 2, 'ummla': 2, 'usmmla': 2,
    'smull': .5, 'smull2': .5, 'smlal': .5, 'smlal2': .5, 'vpdpbusd': 1, 'vpmaddubsw': 1,
}
REGISTERS = {'xmm': 16, 'ymm': 32, 'zmm': 64}
KERNEL = re.compile(r'qlk_gemm_f32_a(8|16)_w(\d)p(\d+)_\w+')
LOADS = re.compile(r'ldr|ldp|ld1|ldur|vmovdqu|vmovdqa|vpbroadcastd$|prfm|prefetch')


def functions(objdump, path):
    """Name and [(address, mnemonic, operands)] of every function."""
    text = subprocess.run([objdump, '-d', '--no-show-raw-insn', path], check=True,
                          capture_output=True, text=True).stdout
    name, lines = None, []
    for line in text.splitlines():
        head = re.match(r'[0-9a-f]+ <([^>]+)>:$', line)
        if head:
            if name:
                yield name, lines
            name, lines = head.group(1), []
        part = re.match(r'\s+([0-9a-f]+):\s+(?:\{\w+\} )?(\S+)\s*(.*)$', line)
        if part:
            lines.append((int(part.group(1), 16), part.group(2), part.group(3)))
    if name:
        yield name, lines


def inner_loops(lines):
    """Runs of instructions that end with a jump back to their beginning and hold no other one."""
    place = {line[0]: i for i, line in enumerate(lines)}
    jumps = []
    for i, (_, mnemonic, operands) in enumerate(lines):
        target = re.search(r'(?:^|, )([0-9a-f]+) <', operands)
        back = place.get(int(target.group(1), 16)) if target else None
        if back is not None and back <= i and re.match(r'b|cbn?z|tbn?z|j', mnemonic):
            jumps.append((back, i))
    for begin, end in jumps:
        if not any(begin <= b and e <= end and (b, e) != (begin, end) for b, e in jumps):
            yield lines[begin:end + 1]


def multiply_adds(loop):
    total = words = 0
    for _, mnemonic, operands in loop:
        register = re.search(r'%([xyz]mm)', operands)
        size = REGISTERS[register.group(1)] if register else 16
        total += DOTS.get(mnemonic, 0) * size
        words += size // 2 if mnemonic == 'vpmaddwd' else 0
    return int(total) or words


def rows_of(macs, bits, columns, name):
    """Rows of a loop that takes one chunk of codes; that of neoni8mm takes two of 8 bits."""
    per_row = columns * (32 if bits == 3 else 32 // bits)
    if bits == 8 and name.endswith('neoni8mm'):
        per_row *= 2
    return macs // per_row if macs % per_row == 0 else macs / per_row


def report(objdump, path, best_only):
    for name, lines in functions(objdump, path):
        kernel = KERNEL.match(name)
        if not kernel or kernel.group(1) == '16':
            continue
        bits, columns = int(kernel.group(2)), int(kernel.group(3))
        found = []
        for loop in inner_loops(lines):
            macs = multiply_adds(loop)
            if macs:
                found.append((rows_of(macs, bits, columns, name), macs, len(loop), loop))
        found.sort(key=lambda f: (f[0], f[2]))
        for rows, macs, count, loop in found if not best_only else found[:1] + found[-1:]:
            dots = sum(m in DOTS or m == 'vpmaddwd' for _, m, _ in loop)
            loads = sum(LOADS.match(m) is not None for _, m, _ in loop)
            stack = sum('sp' in o and re.match('ld|st|vmov', m) is not None for _, m, o in loop)
            print(f'{name:36} {rows:5} {macs:7} {count:6} {dots:6} {loads:6} {stack:6} '
                  f'{1000 * count / macs:9.1f}')


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--objdump', default='objdump')
    parser.add_argument('--ends', action='store_true', help='fewest and most rows only')
    parser.add_argument('object', nargs='+', help='objects or static libraries')
    args = parser.parse_args()
    print(f'{"kernel":36} {"rows":>5} {"MACs":>7} {"instr.":>6} {"dots":>6} {"loads":>6} '
          f'{"stack":>6} {"per 1,000":>9}')
    for path in args.object:
        report(args.objdump, path, args.ends)
    return 0


if __name__ == '__main__':
    sys.exit(main())
