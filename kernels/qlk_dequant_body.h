/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */

/* Dequantization of rows in vectors of f32. Included by the sources that supply:
 *
 *   LANES, vfloat              of a vector
 *   splat(x)                   all lanes
 *   code_values(codes)         LANES codes as numbers
 *   product(s, d)              s * d
 *   odd_product(s, d)          the same, rounded to odd where it does not fit f32
 *   difference(a, b)           a - b
 *   put_values(type, stream, v, dst)
 *                              narrowed and stored; no NaN is among them; stream: dst is aligned
 *                              to what is stored
 *   fence()                    after streaming stores
 */

/* Whether s * (c - z) is f32 arithmetic and no NaN: c - z has to be exact, which it is for every
 * code if z is a multiple of 2^-15 up to 256; to round to odd by the error of the product, that
 * error has to be a number too. */
static inline int plain_group(float scale, float zero, int flags)
{
  const float magnitude = scale < 0 ? -scale : scale, steps = zero * 0x1p15f;
  if (!(steps >= -0x1p23f && steps <= 0x1p23f) || (float)(int32_t)steps != steps)
    return 0;
  if (!(magnitude <= 0x1.fffffep127f))
    return 0;
  return (flags & QLK_ODD) == 0 || (magnitude >= 0x1p-90f && magnitude <= 0x1p100f);
}

static inline void dequant_group(const qlk_coded *row, size_t g, size_t first, size_t end,
                                 qlk_dtype type, int flags, unsigned char *dst)
{
  const size_t size = type == QLK_F32 ? 4 : 2;
  const float zero = qlk_coded_zero(row, g);
  const vfloat s = splat(row->scales[g]), z = splat(zero);
  size_t i = first;
  if (plain_group(row->scales[g], zero, flags))
    for (; i + LANES <= end; i += LANES) {
      const vfloat d = difference(code_values(row->codes + i), z);
      const vfloat v = (flags & QLK_ODD) != 0 ? odd_product(s, d) : product(s, d);
      put_values(type, (flags & QLK_STREAM) != 0, v, dst + i * size);
    }
  qlk_coded_span(row, g, i, end, type, flags, dst);
}

static inline void dequant_groups(const qlk_coded *row, qlk_dtype type, int flags,
                                  unsigned char *dst)
{
  for (size_t first = 0, g = 0; first < row->n; g++) {
    const size_t rest = row->n - first, n = rest < row->group ? rest : row->group;
    dequant_group(row, g, first, first + n, type, flags, dst);
    first += n;
  }
}

/* Whether every full vector of the row is stored at a multiple of 64 bytes or a half of it. */
static inline int can_stream(const qlk_coded *row, const void *dst, int flags)
{
  const int whole = row->group % LANES == 0 || row->group >= row->n;
  return (flags & QLK_STREAM) != 0 && whole && (uintptr_t)dst % 64 == 0;
}

/* Each combination of flags is a loop of its own. */
static inline void dequant_row(const qlk_coded *row, qlk_dtype type, int flags, unsigned char *dst)
{
  const int stream = can_stream(row, dst, flags), odd = (flags & QLK_ODD) != 0;
  if (stream && odd)
    dequant_groups(row, type, QLK_STREAM | QLK_ODD, dst);
  else if (stream)
    dequant_groups(row, type, QLK_STREAM, dst);
  else if (odd)
    dequant_groups(row, type, QLK_ODD, dst);
  else
    dequant_groups(row, type, 0, dst);
  if (stream)
    fence();
}
