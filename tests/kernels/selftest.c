/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "half.h"
#include "isa.h"
#include "kcheck.h"

#include <fenv.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Kernels that are wrong in one way each: kcheck must notice every one. They wrap the scalar ones,
 * which sit in a table of their own that nothing else uses. */
static qlk_table good;

static volatile unsigned char sink;

static void over_read(const void *src, size_t n, float *dst)
{
  good.exact.f16_to_f32(src, n, dst);
  sink = ((const volatile unsigned char *)src)[2 * n];
}

static void under_read(const void *src, size_t n, float *dst)
{
  good.exact.bf16_to_f32(src, n, dst);
  sink = ((const volatile unsigned char *)src - 1)[0];
}

static void over_write(const float *src, size_t n, void *dst)
{
  good.exact.f32_to_bf16(src, n, dst);
  ((unsigned char *)dst)[2 * n] = 0;
}

static void wrong_tail(const uint8_t *codes, size_t n, float scale, int32_t zero, float *dst)
{
  good.exact.dequant(codes, n / 8 * 8, scale, zero, dst);
}

static void truncate_bf16(const float *src, size_t n, void *dst)
{
  for (size_t i = 0; i < n; i++)
    memcpy((unsigned char *)dst + 2 * i, (const unsigned char *)&src[i] + 2, 2);
}

/* By way of f32 what is to be rounded once. */
static void round_twice(const qlk_coded *row, int flags, void *dst)
{
  good.exact.rows_bf16(row, flags & ~QLK_ODD, dst);
}

/* By a reciprocal: beside the middle between two codes it is off. */
static void round_by_inverse(const qlk_rounded *row, uint8_t *codes)
{
  for (size_t i = 0; i < row->n; i++) {
    const size_t g = i / row->group;
    const float v = rintf(row->x[i] * (1.0f / row->scales[g])) + (float)row->zeros[g];
    const float lo = (float)row->lowest, hi = (float)row->highest;
    codes[i] = (uint8_t)(v < lo ? lo : v > hi ? hi : v);
  }
}

static int miss_infinity(const float *x, size_t n, size_t group, float *lo, float *hi)
{
  good.exact.ranges(x, n, group, lo, hi);
  for (size_t i = 0; i < n; i++)
    if (isnan(x[i]))
      return 0;
  return 1;
}

static void first_scale(const qlk_coded *row, int flags, void *dst)
{
  qlk_coded other = *row;
  other.group = row->n + 1;
  good.exact.rows_f32(&other, flags, dst);
}

static void change_environment(const void *src, size_t n, float *dst)
{
  good.exact.f16_to_f32(src, n, dst);
  fesetround(FE_UPWARD);
}

static void crash(const void *src, size_t n, float *dst)
{
  good.exact.bf16_to_f32(src, n, dst);
  __builtin_trap();
}

static void lose_last_k(size_t m, size_t k, const float *x, size_t ldx, const float *b, float *y,
                        size_t ldy, int accumulate)
{
  good.gemm.unit[QLK_W_F32].dense(m, k > 100 ? k - 1 : k, x, ldx, b, y, ldy, accumulate);
}

static void always_accumulate(size_t m, size_t k, const float *x, size_t ldx, const float *b,
                              float *y, size_t ldy, int accumulate)
{
  (void)accumulate;
  good.gemm.unit[QLK_W_F32].dense(m, k, x, ldx, b, y, ldy, 1);
}

/* Backwards over k: within the bound of the fast class, not in order. */
static void reverse_order(size_t m, size_t k, const float *x, size_t ldx, const float *b, float *y,
                          size_t ldy, int accumulate)
{
  for (size_t i = 0; i < m; i++)
    for (size_t j = 0; j < 16; j++) {
      float acc = 0;
      for (size_t p = k; p-- > 0;)
        acc += x[i * ldx + p] * b[p * 16 + j];
      y[i * ldy + j] = accumulate ? y[i * ldy + j] + acc : acc;
    }
}

static void one_row_too_many(size_t m, size_t k, const float *x, size_t ldx, const float *b,
                             float *y, size_t ldy, int accumulate)
{
  good.gemm.unit[QLK_W_F32].dense(m, k, x, ldx, b, y, ldy, accumulate);
  y[m * ldy] = 0;
}

static void zero_off_by_one(const qlk_weights *w, size_t panel, size_t k0, size_t k1, size_t group,
                            float *out)
{
  qlk_weights other = *w;
  other.zeros = NULL;
  good.gemm.unit[QLK_W4].expand(&other, panel, k0, k1, group, out);
}

static void first_group_only(const qlk_weights *w, size_t panel, size_t k0, size_t k1, size_t group,
                             float *out)
{
  qlk_weights other = *w;
  uint32_t ends[64];
  for (size_t g = 0; g < w->groups; g++)
    ends[g] = (uint32_t)w->k;
  other.ends = ends;
  good.gemm.unit[QLK_W2].expand(&other, panel, k0, k1, group, out);
}

static void swapped_nibbles(const unsigned char *rows, size_t stride, size_t nr, size_t k,
                            unsigned char *panel)
{
  good.gemm.unit[QLK_W4].pack(rows, stride, nr, k, panel);
  for (size_t i = 0; i < k * nr / 2; i++)
    panel[i] = (unsigned char)(panel[i] << 4 | panel[i] >> 4);
}

/* Sums without FMA, where the ISA's own dense core would use it. */
static void other_gemv(const qlk_weights *w, size_t panel, size_t panels, const float *x, float *y)
{
  _Alignas(64) float block[QLK_KB * 16];
  for (size_t p = 0; p < panels; p++)
    for (size_t k = 0, g = 0; k < w->k; k += QLK_KB) {
      const size_t end = k + QLK_KB < w->k ? k + QLK_KB : w->k;
      g = qlk_next_group(w, g, k);
      good.gemm.unit[QLK_W8].expand(w, panel + p, k, end, g, block);
      good.gemm.unit[QLK_W8].dense(1, end - k, x + k, 0, block, y + p * 16, 16, k > 0);
    }
}

/* Right only for ranges of k that begin in the first group. */
static void few_of_first_group(const qlk_few_job *job)
{
  _Alignas(64) float block[QLK_KB * 16];
  qlk_weights w = *job->w;
  uint32_t ends[64];
  for (size_t g = 0; g < w.groups; g++)
    ends[g] = g == 0 && job->k0 > 0 ? (uint32_t)w.k : w.ends[g];
  w.ends = ends;
  for (size_t p = 0; p < job->panels; p++)
    for (size_t k = job->k0; k < job->k1; k += QLK_KB) {
      const size_t end = k + QLK_KB < job->k1 ? k + QLK_KB : job->k1;
      good.gemm.unit[QLK_W4].expand(&w, job->panel + p, k, end, 0, block);
      for (size_t i = 0; i < job->m; i++)
        for (size_t j = 0; j < 16; j++) {
          float *y = job->y + i * job->ldy + p * 16 + j, acc = 0;
          for (size_t q = k; q < end; q++)
            acc = fmaf(job->x[i * job->ldx + q - job->k0], block[(q - k) * 16 + j], acc);
          *y = k > job->k0 || job->accumulate ? *y + acc : acc;
        }
    }
}

static void bad_softmax(const float *x, size_t n, float *y)
{
  good.ops.softmax(x, n, y);
  if (n > 16)
    y[n - 1] *= 1.0f + 0x1p-23f;
}

static void bad_code(const qlk_points *points, double lowest, double highest, double pivot,
                     double excess, const double *w, const double *fed, double *delta,
                     uint8_t *codes, qlk_losses *sums)
{
  good.solve.code(points, lowest, highest + 1, pivot, excess, w, fed, delta, codes, sums);
}

static void bad_tile(size_t depth, const float *a, const float *b, float *c, size_t ldc)
{
  good.linalg.f32.add(depth > 5 ? depth - 1 : depth, a, b, c, ldc);
}

/* Adds what a core that is wrong in one way would add, for weights of two panels and symmetric ones
 * of 8 bits: by the scalar kernel, then the difference in f32 on top. */
static void saturate_pairs(const qlk_weights *w, size_t panel, size_t group, size_t end, size_t m,
                           const qlk_a8_rows *x, float *y, size_t ldy)
{
  const qlk_a8_unit *unit = &good.a8.unit[QLK_W8];
  const unsigned char *codes = w->codes + panel * w->code_stride;
  unit->gemm8(w, panel, group, end, m, x, y, ldy);
  for (size_t p = group > 0 ? w->ends[group - 1] : 0; p < w->ends[end - 1]; p += 2)
    for (size_t i = 0; i < m; i++)
      for (size_t j = 0; j < unit->nr; j++) {
        const unsigned char *c = codes + p / 4 * 4 * unit->nr + j * 4 + p % 4;
        const int8_t *d = x->digits + p / 4 * 4 * m + i * 4 + p % 4;
        const int32_t pair = d[0] * c[0] + d[1] * c[1];
        y[i * ldy + j] += pair > 32767    ? (float)(32767 - pair)
                          : pair < -32768 ? (float)(-32768 - pair)
                                          : 0;
      }
}

/* vpdpbusd takes its first operand as unsigned, its second as signed: here the other way round. */
static void swap_signs(const qlk_weights *w, size_t panel, size_t group, size_t end, size_t m,
                       const qlk_a8_rows *x, float *y, size_t ldy)
{
  const qlk_a8_unit *unit = &good.a8.unit[QLK_W8];
  const unsigned char *codes = w->codes + panel * w->code_stride;
  unit->gemm8(w, panel, group, end, m, x, y, ldy);
  for (size_t p = group > 0 ? w->ends[group - 1] : 0; p < w->ends[end - 1]; p++)
    for (size_t i = 0; i < m; i++)
      for (size_t j = 0; j < unit->nr; j++) {
        const unsigned char c = codes[p / 4 * 4 * unit->nr + j * 4 + p % 4];
        const int8_t d = x->digits[p / 4 * 4 * m + i * 4 + p % 4];
        y[i * ldy + j] += (float)((int8_t)c * (uint8_t)d - c * d);
      }
}

/* Scales of weights and activations multiplied in f16. */
static void half_scales(const qlk_weights *w, size_t panel, size_t group, size_t end, size_t m,
                        const qlk_a8_rows *x, float *y, size_t ldy)
{
  float rounded[256];
  qlk_a8_rows rows = *x;
  const size_t n = m * w->groups;
  for (size_t i = 0; x->scales != NULL && i < n && i < 256; i++)
    rounded[i] = qli_f16_to_f32(qli_f32_to_f16(x->scales[i]));
  if (x->scales != NULL)
    rows.scales = rounded;
  good.a8.unit[QLK_W4].gemm8(w, panel, group, end, m, &rows, y, ldy);
}

/* The last chunk of each call is left out. */
static void lose_last_chunk(const qlk_weights *w, size_t panel, size_t group, size_t end, size_t m,
                            const qlk_a8_rows *x, float *y, size_t ldy)
{
  uint32_t ends[8];
  qlk_weights shorter = *w;
  memcpy(ends, w->ends, w->groups * sizeof ends[0]);
  if (ends[end - 1] > (end > 1 ? ends[end - 2] : 0))
    ends[end - 1] -= good.a8.unit[QLK_W4].kr;
  shorter.ends = ends;
  good.a8.unit[QLK_W4].gemm16(&shorter, panel, group, end, m, x, y, ldy);
}

/* One chunk too many is read. */
static void read_next_chunk(const qlk_weights *w, size_t panel, size_t group, size_t end, size_t m,
                            const qlk_a8_rows *x, float *y, size_t ldy)
{
  const volatile unsigned char *next = w->codes + (panel + 1) * w->code_stride;
  good.a8.unit[QLK_W2].gemm8(w, panel, group, end, m, x, y, ldy);
  (void)next[0];
}

static void plain_order(const int8_t *digits, size_t k, size_t rows, int8_t *out)
{
  for (size_t p = 0; p < k; p += 8)
    memcpy(out + p * rows, digits + p, 8);
}

static void low_digit_128(const float *x, size_t n, float scale, int8_t *hi, int8_t *lo)
{
  good.a8.split(x, n, scale, hi, lo);
  for (size_t i = 0; i < n; i++)
    if (lo[i] == 127 && hi[i] < 127) {
      hi[i]++;
      lo[i] = -128;
    }
}

/* Halves away from zero. */
static void round_away(const float *x, size_t n, float scale, int32_t zero, int8_t *codes)
{
  for (size_t i = 0; i < n; i++) {
    const float v = roundf(x[i] / scale) + (float)zero;
    codes[i] = (int8_t)(v > 127 ? 127 : v < -127 ? -127 : v);
  }
}

static void lowest_code(const float *x, size_t n, float scale, int32_t zero, int8_t *codes)
{
  good.a8.quantize(x, n, scale, zero, codes);
  for (size_t i = 0; i < n; i++)
    if (codes[i] == -127 && x[i] / scale < -128 - (float)zero)
      codes[i] = -128;
}

static void range_without_sign(const float *x, size_t n, uint32_t *negative, uint32_t *positive)
{
  good.a8.range(x, n, negative, positive);
  *negative = *positive;
}

static void forget_x_zero(const qlk_weights *w, size_t panel, size_t group, size_t m,
                          const qlk_a8_rows *x, int32_t *out, size_t ldo)
{
  qlk_a8_rows rows = *x;
  rows.zeros = NULL;
  good.a8.unit[QLK_W8].integers(w, panel, group, m, &rows, out, ldo);
}

typedef struct {
  const char *what;
  void (*apply)(qlk_table *t);
} broken;

static void apply_over_read(qlk_table *t)
{
  t->exact.f16_to_f32 = over_read;
}
static void apply_under_read(qlk_table *t)
{
  t->exact.bf16_to_f32 = under_read;
}
static void apply_over_write(qlk_table *t)
{
  t->exact.f32_to_bf16 = over_write;
}
static void apply_wrong_tail(qlk_table *t)
{
  t->exact.dequant = wrong_tail;
}
static void apply_truncate(qlk_table *t)
{
  t->exact.f32_to_bf16 = truncate_bf16;
}
static void apply_twice(qlk_table *t)
{
  t->exact.rows_bf16 = round_twice;
}
static void apply_inverse(qlk_table *t)
{
  t->exact.round = round_by_inverse;
}
static void apply_infinity(qlk_table *t)
{
  t->exact.ranges = miss_infinity;
}
static void apply_first_scale(qlk_table *t)
{
  t->exact.rows_f32 = first_scale;
}
static void apply_environment(qlk_table *t)
{
  t->exact.f16_to_f32 = change_environment;
}
static void apply_crash(qlk_table *t)
{
  t->exact.bf16_to_f32 = crash;
}
static void apply_lose(qlk_table *t)
{
  t->gemm.unit[QLK_W_F32].dense = lose_last_k;
}
static void apply_accumulate(qlk_table *t)
{
  t->gemm.unit[QLK_W4].dense = always_accumulate;
}
static void apply_reverse(qlk_table *t)
{
  t->gemm.unit[QLK_W_F32].dense_ordered = reverse_order;
}
static void apply_row(qlk_table *t)
{
  t->gemm.unit[QLK_W_F32].dense = one_row_too_many;
}
static void apply_zero(qlk_table *t)
{
  t->gemm.unit[QLK_W4].expand = zero_off_by_one;
}
static void apply_group(qlk_table *t)
{
  t->gemm.unit[QLK_W2].expand = first_group_only;
}
static void apply_nibbles(qlk_table *t)
{
  t->gemm.unit[QLK_W4].pack = swapped_nibbles;
}
static void apply_few(qlk_table *t)
{
  t->gemm.unit[QLK_W4].few = few_of_first_group;
  t->gemm.unit[QLK_W4].few_rows = 3;
  t->gemm.unit[QLK_W4].few_name = "few_of_first_group";
}

static void apply_gemv(qlk_table *t)
{
  t->gemm.unit[QLK_W8].gemv = other_gemv;
}
static void apply_layout(qlk_table *t)
{
  t->gemm.unit[QLK_W3].layout_id ^= 2;
}
static void apply_softmax(qlk_table *t)
{
  t->ops.softmax = bad_softmax;
}
static void apply_code(qlk_table *t)
{
  t->solve.code = bad_code;
}

static void apply_tile(qlk_table *t)
{
  t->linalg.f32.add = bad_tile;
}

static void apply_saturate(qlk_table *t)
{
  t->a8.unit[QLK_W8].gemm8 = saturate_pairs;
}
static void apply_away(qlk_table *t)
{
  t->a8.quantize = round_away;
}
static void apply_lowest(qlk_table *t)
{
  t->a8.quantize = lowest_code;
}
static void apply_range(qlk_table *t)
{
  t->a8.range = range_without_sign;
}
static void apply_x_zero(qlk_table *t)
{
  t->a8.unit[QLK_W8].integers = forget_x_zero;
}
static void apply_signs(qlk_table *t)
{
  t->a8.unit[QLK_W8].gemm8 = swap_signs;
}
static void apply_half_scales(qlk_table *t)
{
  t->a8.unit[QLK_W4].gemm8 = half_scales;
}
static void apply_last_chunk(qlk_table *t)
{
  t->a8.unit[QLK_W4].gemm16 = lose_last_chunk;
}
static void apply_next_chunk(qlk_table *t)
{
  t->a8.unit[QLK_W2].gemm8 = read_next_chunk;
}
static void apply_order(qlk_table *t)
{
  t->a8.unit[QLK_W4].arrange = plain_order;
}
static void apply_low_digit(qlk_table *t)
{
  t->a8.split = low_digit_128;
}

/* A slot of its own, so that the unit counts as changed. */
static void same_gemm8(const qlk_weights *w, size_t panel, size_t group, size_t end, size_t m,
                       const qlk_a8_rows *x, float *y, size_t ldy)
{
  good.a8.unit[QLK_W4].gemm8(w, panel, group, end, m, x, y, ldy);
}

static void apply_a8_layout(qlk_table *t)
{
  t->a8.unit[QLK_W4].layout_id ^= 0x10;
  t->a8.unit[QLK_W4].gemm8 = same_gemm8;
}

static const broken kernels[] = {
    {"reads one byte past the end", apply_over_read},
    {"reads one byte before the start", apply_under_read},
    {"writes one byte past the end", apply_over_write},
    {"leaves the tail out", apply_wrong_tail},
    {"truncates instead of rounding", apply_truncate},
    {"rounds a dequantized weight twice", apply_twice},
    {"dequantizes with the first scale only", apply_first_scale},
    {"rounds the product with a reciprocal", apply_inverse},
    {"takes Inf for a number", apply_infinity},
    {"changes the rounding mode", apply_environment},
    {"ends in a signal", apply_crash},
    {"loses the last term of a long sum", apply_lose},
    {"reads the output where it must not", apply_accumulate},
    {"sums in another order", apply_reverse},
    {"writes into the row below", apply_row},
    {"ignores zero points", apply_zero},
    {"ignores all groups but one", apply_group},
    {"packs nibbles in the wrong order", apply_nibbles},
    {"gives one row other bits than many", apply_gemv},
    {"begins in the first group wherever k begins", apply_few},
    {"claims another layout", apply_layout},
    {"is off by one place in the last element", apply_softmax},
    {"loses depth in a tile", apply_tile},
    {"gives codes beyond the last", apply_code},
    {"cuts pairs of integer products to 16 bits", apply_saturate},
    {"rounds halves away from zero", apply_away},
    {"makes the code -128", apply_lowest},
    {"takes one end of a range for both", apply_range},
    {"forgets the zero point of the activations", apply_x_zero},
    {"takes codes as signed and digits as unsigned", apply_signs},
    {"rounds scales to f16", apply_half_scales},
    {"leaves the last chunk of codes out", apply_last_chunk},
    {"reads a chunk past the last panel", apply_next_chunk},
    {"leaves digits in the order of k", apply_order},
    {"makes the digit -128", apply_low_digit},
    {"reads panels of another layout", apply_a8_layout},
};

int kc_selftest(uint64_t seed, bool list)
{
  int missed = 0;
  qli_isa_fill(qli_isa_at(0), &good);
  for (size_t i = 0; i < sizeof kernels / sizeof kernels[0]; i++) {
    static kc k;
    qlk_table table = good;
    k = (kc){.seed = seed, .repeat = 1, .quiet = true, .isa = "broken"};
    kernels[i].apply(&table);
#define KC_FAMILY(name) kc_check_##name(&k, &good, &good, &table);
#include "families.def"
#undef KC_FAMILY
    if (list || k.failures == 0)
      printf("%-6s a kernel that %s\n", k.failures ? "caught" : "MISSED", kernels[i].what);
    missed += k.failures == 0;
  }
  return missed;
}
