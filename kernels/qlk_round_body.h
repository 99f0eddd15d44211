/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */

/* Rounding of rows to codes in vectors of f32. Included by the sources that supply LANES and vfloat
 * of a vector, splat(x), load_values(x), and:
 *
 *   multiply_add(a, b, c)         a * b + c with one rounding
 *   negated_add(a, b, c)          c - a * b with one rounding
 *   sum(a, b), halves of it are exact where it is used
 *   lesser(a, b), greater(a, b)   neither is NaN
 *   differ(a, b, before)          bits where a and b differ, and those of before
 *   any(bits)                     whether one is set; bits is a vfloat too
 *   choose_exact(low, high, rest, s)  see below
 *   put_codes(v, zero, codes)     low byte of the bits of each lane plus zero
 *   least(v), greatest(v)         of the lanes
 *
 * x / s lies between the products of x with the two neighbours of 1 / s. Added to 1.5 2^23 these
 * become integers in the lowest bits, ties to even; where both are the same, that is x / s rounded.
 * Where not, which is seldom, the sign of x - h s, h half way between the two, decides: a fused
 * multiply-add has it right. */
#define MAGIC 0x1.8p23f

/* The neighbours of 1 / s. */
static inline float inverse_below(float s)
{
  return qlk_float(qlk_bits(1.0f / s) - 1u);
}

static inline float inverse_above(float s)
{
  return qlk_float(qlk_bits(1.0f / s) + 1u);
}

/* Beyond these the inverse or x - h s would not be a normal number. */
static inline int usual_scale(float s)
{
  const float magnitude = s < 0 ? -s : s;
  return magnitude >= 0x1p-100f && magnitude <= 0x1p100f;
}

static inline vfloat clamped(vfloat v, vfloat lo, vfloat hi)
{
  return lesser(greater(v, lo), hi);
}

/* Full vectors of columns first .. end - 1; exact: settles the lanes that are not sure, else says
 * whether there are any. */
static inline int round_vectors(const qlk_rounded *row, size_t g, size_t first, size_t end,
                                int exact, uint8_t *codes)
{
  const float s = row->scales[g];
  const int32_t zero = row->zeros[g];
  const vfloat below = splat(inverse_below(s)), above = splat(inverse_above(s));
  const vfloat magic = splat(MAGIC), scale = splat(s);
  const vfloat lo = splat(MAGIC + (float)(row->lowest - zero));
  const vfloat hi = splat(MAGIC + (float)(row->highest - zero));
  vfloat unsure = splat(0.0f);
  for (size_t i = first; i + LANES <= end; i += LANES) {
    const vfloat x = load_values(row->x + i);
    vfloat a = clamped(multiply_add(x, below, magic), lo, hi);
    const vfloat b = multiply_add(x, above, magic);
    if (exact) {
      const vfloat c = clamped(b, lo, hi);
      /* a and c are integers that differ by 1 at most: half way between them is exact. */
      const vfloat h =
          multiply_add(sum(sum(a, splat(-MAGIC)), sum(c, splat(-MAGIC))), splat(0.5f), splat(0.0f));
      a = choose_exact(a, c, h, negated_add(h, scale, x), scale);
    } else {
      unsure = differ(a, clamped(b, lo, hi), unsure);
    }
    put_codes(a, zero, codes + i);
  }
  return !exact && any(unsure);
}

static inline void round_row(const qlk_rounded *row, uint8_t *codes)
{
  for (size_t first = 0, g = 0; first < row->n; g++) {
    const size_t rest = row->n - first, n = rest < row->group ? rest : row->group;
    size_t done = first;
    if (usual_scale(row->scales[g])) {
      done += n / LANES * LANES;
      if (round_vectors(row, g, first, done, 0, codes))
        round_vectors(row, g, first, done, 1, codes);
    }
    qlk_rounded_span(row, g, done, first + n, codes);
    first += n;
  }
}

static inline int range_row(const float *x, size_t n, size_t group, float *lo, float *hi)
{
  vfloat odd = splat(0.0f);
  float rest_odd = 0.0f;
  for (size_t first = 0, g = 0; first < n; g++) {
    const size_t rest = n - first, count = rest < group ? rest : group;
    const size_t end = first + count;
    size_t i = first;
    lo[g] = hi[g] = x[first];
    if (count >= LANES) {
      vfloat low = splat(x[first]), high = low;
      for (; i + LANES <= end; i += LANES) {
        const vfloat v = load_values(x + i);
        low = lesser(low, v);
        high = greater(high, v);
        odd = multiply_add(v, splat(0.0f), odd);
      }
      lo[g] = least(low);
      hi[g] = greatest(high);
    }
    qlk_range_span(x + i, end - i, &lo[g], &hi[g], &rest_odd);
    first = end;
  }
  return !any(differ(odd, splat(0.0f), splat(0.0f))) && rest_odd == 0.0f;
}
