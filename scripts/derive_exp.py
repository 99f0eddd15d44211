#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""Derives the polynomial of the library's exp (kernels/qlk_ops_body.h).

e^r = 1 + r + r^2 P(r) on |r| <= ln(2)/2, P of degree 4 by Remez exchange on the relative error,
in 50-digit decimals; the coefficients are then rounded to float and the error of the rounded
polynomial is printed. ln 2 is split so that n * high is exact for |n| < 256.
"""
import math
import struct
from decimal import Decimal, getcontext

getcontext().prec = 50
LN2 = Decimal(2).ln()
BOUND = LN2 / 2
DEGREE = 4


def to_float(x):
    return struct.unpack("<f", struct.pack("<f", float(x)))[0]


def solve(rows, right):
    n = len(rows)
    a = [row[:] + [b] for row, b in zip(rows, right)]
    for i in range(n):
        pivot = max(range(i, n), key=lambda r: abs(a[r][i]))
        a[i], a[pivot] = a[pivot], a[i]
        for r in range(n):
            if r != i:
                f = a[r][i] / a[i][i]
                a[r] = [x - f * y for x, y in zip(a[r], a[i])]
    return [a[i][n] / a[i][i] for i in range(n)]


def error(coefficients, r):
    p = Decimal(0)
    for c in reversed(coefficients):
        p = p * r + Decimal(c)
    return (1 + r + r * r * p) / r.exp() - 1


def chebyshev(count):
    """The extrema of a Chebyshev polynomial, to start from."""
    return [BOUND * Decimal(math.cos(math.pi * k / (count - 1))) for k in range(count)]


def remez():
    points = chebyshev(DEGREE + 2)
    grid = [BOUND * (Decimal(2 * k) / 4000 - 1) for k in range(4001)]
    for _ in range(12):
        # r^2 P(r) / e^r - sign * level = 1 - (1 + r) / e^r
        rows = [[r ** (k + 2) / r.exp() for k in range(DEGREE + 1)] + [Decimal((-1) ** i)]
                for i, r in enumerate(points)]
        right = [1 - (1 + r) / r.exp() for r in points]
        coefficients = solve(rows, right)[:-1]
        values = [error(coefficients, r) for r in grid]
        extrema = []
        for i, e in enumerate(values):
            if extrema and (e > 0) == (values[extrema[-1]] > 0):
                if abs(e) > abs(values[extrema[-1]]):
                    extrema[-1] = i
            else:
                extrema.append(i)
        extrema = sorted(extrema, key=lambda i: -abs(values[i]))[:DEGREE + 2]
        points = [grid[i] for i in sorted(extrema, reverse=True)]
        if len(points) < DEGREE + 2:
            break
    return coefficients


def main():
    high = Decimal(int(LN2 * 2**16)) / 2**16
    print("ln2 high", to_float(high).hex(), "low", to_float(LN2 - high).hex())
    print("1/ln2", to_float(1 / LN2).hex())
    rounded = [to_float(c) for c in remez()]
    for k, c in enumerate(rounded):
        print(f"c{k + 2} {c.hex()}")
    worst = max(abs(error(rounded, BOUND * (Decimal(2 * k) / 2000 - 1))) for k in range(2001))
    print(f"relative error of the polynomial: {float(worst):.3g} (2^-24 is {2**-24:.3g})")


if __name__ == "__main__":
    main()
