/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "kcheck.h"

#include "half.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Packed weights made here from the layout that qlk_gemm.h describes, not by the packing under
 * test, with the f32 value of every weight beside them. */
enum { MAX_GROUPS = 64, MAX_PANELS = 3 };

/* What codes stand for: numbers, for two of four cases, or levels. */
enum { ANY_LEVELS = -1, NO_LEVELS = 1, ONE_TABLE, CODEBOOKS };

typedef struct {
  qlk_wtype wtype;
  int levels;
  size_t nr, kr, panels, k;
  qlk_weights w;
  uint32_t ends[MAX_GROUPS];
  unsigned char *elements; /* [panels * nr][k] codes, or elements of 2 or 4 bytes */
  size_t element;
  float *values; /* [panels * nr][k] */
} packed_case;

typedef struct {
  const char *name;
  qlk_wtype wtype;
  int bits; /* 0: floating point */
} format_row;

static const format_row formats[QLK_WTYPE_COUNT] = {
    {"f32", QLK_W_F32, 0}, {"f16", QLK_W_F16, 0}, {"bf16", QLK_W_BF16, 0}, {"w2", QLK_W2, 2},
    {"w3", QLK_W3, 3},     {"w4", QLK_W4, 4},     {"w8", QLK_W8, 8},
};

static size_t chunk_words(int bits)
{
  return bits == 3 ? 3 : 1;
}

static size_t panel_bytes(const packed_case *c)
{
  const int bits = formats[c->wtype].bits;
  if (bits == 0)
    return c->k * c->nr * c->element;
  return c->k / c->kr * chunk_words(bits) * c->nr * 4;
}

static void set_bits(unsigned char *panel, size_t word, size_t bit, size_t count, unsigned value)
{
  for (size_t i = 0; i < count; i++, bit++)
    if (value >> i & 1)
      panel[word * 4 + bit / 8] |= (unsigned char)(1u << bit % 8);
}

/* One code into a panel that is all zero. */
static void put_code(const packed_case *c, unsigned char *panel, size_t p, size_t j, unsigned code)
{
  const int bits = formats[c->wtype].bits;
  const size_t chunk = p / c->kr, t = p % c->kr;
  if (bits != 3) {
    set_bits(panel, chunk * c->nr + j, t * (size_t)bits, (size_t)bits, code);
    return;
  }
  set_bits(panel, (chunk * 3 + t / 16) * c->nr + j, t % 16 * 2, 2, code & 3);
  /* t = 16 h + 4 b + l: place l + 4 h of byte b */
  const size_t h = t / 16, b = t / 4 % 4, l = t % 4;
  set_bits(panel, (chunk * 3 + 2) * c->nr + j, 8 * b + l + 4 * h, 1, code >> 2);
}

static void put_element(const packed_case *c, unsigned char *panel, size_t p, size_t j,
                        const unsigned char *from)
{
  memcpy(panel + (p * c->nr + j) * c->element, from, c->element);
}

/* Stores v rounded to the type; gives the value that is then there. */
static float store_float(qlk_dtype type, float v, unsigned char *to)
{
  const uint16_t h = type == QLK_F16 ? qli_f32_to_f16(v) : qli_f32_to_bf16(v);
  if (type == QLK_F32) {
    memcpy(to, &v, 4);
    return v;
  }
  memcpy(to, &h, 2);
  return type == QLK_F16 ? qli_f16_to_f32(h) : qli_bf16_to_f32(h);
}

static float make_scale(kc *k, int kind, qlk_dtype type, unsigned char *to)
{
  float s = ldexpf(1.0f + (float)kc_unit(k), -(int)kc_below(k, 12));
  if (kind == KC_POWERS)
    s = ldexpf(1.0f, -(int)kc_below(k, 3));
  else if (kind == KC_EXTREME && kc_below(k, 3) == 0)
    s = type == QLK_F16 ? 0x1p-24f : 0x1p-130f;
  else if (kc_below(k, 9) == 0)
    s = 0;
  return store_float(type, kc_below(k, 4) ? s : -s, to);
}

/* Groups of any length that is a multiple of kr; now and then an empty one. */
static size_t make_groups(kc *k, packed_case *c)
{
  size_t end = 0, g = 0;
  const size_t units = c->k / c->kr, longest = kc_below(k, 2) ? units : 1 + units / 5;
  for (; end < units && g + 1 < MAX_GROUPS; g++) {
    end += kc_below(k, 7) == 0 ? 0 : 1 + kc_below(k, longest);
    end = end < units ? end : units;
    c->ends[g] = (uint32_t)(end * c->kr);
  }
  if (end < units)
    c->ends[g++] = (uint32_t)c->k;
  return g;
}

/* Levels in the layout of qlk_gemm.h: one table, filled up to 16 entries, or one for each column.
 */
static void make_levels(kc *k, int kind, bool own, packed_case *c)
{
  const int bits = formats[c->wtype].bits;
  const size_t count = (size_t)1 << bits, columns = own ? c->panels * c->nr : 1;
  const size_t entries = own || count > 16 ? count : 16;
  float *table = kc_memory(k, columns * entries * sizeof(float), 64);
  kc_fill(k, kind == KC_UNIFORM || kind == KC_POWERS ? kind : KC_NORMAL, table, columns * entries);
  for (size_t i = count; i < entries; i++)
    table[i] = table[i % count];
  c->w.table = table;
  c->w.table_stride = own ? c->nr * count : 0;
}

static float level_of(const packed_case *c, size_t n, unsigned code)
{
  const size_t column = c->w.table_stride != 0 ? n << formats[c->wtype].bits : 0;
  return c->w.table[column + code];
}

static void make_codes(kc *k, int kind, packed_case *c, unsigned char *panels)
{
  const int bits = formats[c->wtype].bits;
  const qlk_dtype type = (qlk_dtype)(1 + kc_below(k, 3));
  const int levels = c->levels != ANY_LEVELS ? c->levels : (int)kc_below(k, 4);
  const bool implied = levels > NO_LEVELS || kc_below(k, 2) == 0;
  const bool floats = !implied && kc_below(k, 2) == 0;
  c->w.groups = make_groups(k, c);
  const size_t cells = c->panels * c->w.groups * c->nr, size = type == QLK_F32 ? 4 : 2;
  unsigned char *scales = kc_memory(k, cells * size, 64);
  int16_t *zeros = implied || floats ? NULL : kc_memory(k, cells * 2, 64);
  unsigned char *fzeros = floats ? kc_memory(k, cells * size, 64) : NULL;
  c->w.scales = scales;
  c->w.zeros = zeros;
  c->w.fzeros = fzeros;
  c->w.ends = c->ends;
  c->w.scale_type = type;
  c->w.scale_stride = c->w.groups * c->nr;
  if (levels >= ONE_TABLE)
    make_levels(k, kind, levels == CODEBOOKS, c);
  for (size_t n = 0; n < c->panels * c->nr; n++) {
    const size_t panel = n / c->nr, j = n % c->nr;
    for (size_t g = 0, p = 0; g < c->w.groups; g++) {
      const size_t at = panel * c->w.scale_stride + g * c->nr + j;
      const float s = make_scale(k, kind, type, scales + at * size);
      const int zero = implied ? 1 << (bits - 1) : (int)kc_below(k, (1u << bits) + 1);
      float fzero = (float)zero;
      if (floats)
        fzero = store_float(type, (float)(kc_unit(k) * 40.0 - 20.0), fzeros + at * size);
      else if (!implied)
        zeros[at] = (int16_t)zero;
      for (; p < c->ends[g]; p++) {
        const unsigned code = (unsigned)kc_below(k, (size_t)1 << bits);
        c->elements[n * c->k + p] = (unsigned char)code;
        put_code(c, panels + panel * c->w.code_stride, p, j, code);
        const float difference =
            c->w.table != NULL ? level_of(c, n, code) : (float)((double)code - (double)fzero);
        c->values[n * c->k + p] = (float)((double)s * (double)difference);
      }
    }
  }
}

static void make_floats(kc *k, int kind, packed_case *c, unsigned char *panels)
{
  const qlk_dtype type = c->wtype == QLK_W_F32   ? QLK_F32
                         : c->wtype == QLK_W_F16 ? QLK_F16
                                                 : QLK_BF16;
  kc_fill(k, kind == KC_EXTREME || kind == KC_OUTLIER ? KC_NORMAL : kind, c->values,
          c->panels * c->nr * c->k);
  for (size_t n = 0; n < c->panels * c->nr; n++)
    for (size_t p = 0; p < c->k; p++) {
      unsigned char *element = c->elements + (n * c->k + p) * c->element;
      float *value = &c->values[n * c->k + p];
      *value = store_float(type, kc_below(k, 9) ? *value : 0.0f, element);
      put_element(c, panels + n / c->nr * c->w.code_stride, p, n % c->nr, element);
    }
}

static void make_case_of(kc *k, int kind, qlk_wtype wtype, int levels, const qlk_gemm_unit *unit,
                         size_t panels, size_t chunks, packed_case *c)
{
  memset(c, 0, sizeof *c);
  c->levels = levels;
  c->wtype = wtype;
  c->nr = unit->nr;
  c->kr = unit->kr;
  c->panels = panels;
  c->k = chunks * unit->kr;
  c->element = wtype == QLK_W_F32 ? 4 : formats[wtype].bits ? 1 : 2;
  c->w.code_stride = panel_bytes(c);
  c->w.k = c->k;
  c->elements = calloc(panels * c->nr * c->k + 1, c->element);
  c->values = calloc(panels * c->nr * c->k + 1, sizeof(float));
  unsigned char *codes = kc_memory(k, panels * c->w.code_stride, 64);
  memset(codes, 0, panels * c->w.code_stride);
  c->w.codes = codes;
  if (formats[wtype].bits)
    make_codes(k, kind, c, codes);
  else
    make_floats(k, kind, c, codes);
}

static void make_case(kc *k, int kind, qlk_wtype wtype, const qlk_gemm_unit *unit, size_t panels,
                      size_t chunks, packed_case *c)
{
  make_case_of(k, kind, wtype, ANY_LEVELS, unit, panels, chunks, c);
}

static void free_case(packed_case *c)
{
  free(c->elements);
  free(c->values);
}

typedef struct {
  const qlk_gemm_unit *unit;
  const qlk_weights *w;
  const unsigned char *rows;
  size_t stride, panel, panels, k0, k1, group;
  const float *x, *b;
  float *out;
  size_t m, ldx, ldy;
  int accumulate;
  bool ordered;
} call;

/* Packing serves panels of any width. */
static void run_pack(void *arg)
{
  const call *c = arg;
  c->unit->pack(c->rows, c->stride, c->unit->nr, c->k1, (unsigned char *)(void *)c->out);
}

static void run_expand(void *arg)
{
  const call *c = arg;
  c->unit->expand(c->w, c->panel, c->k0, c->k1, c->group, c->out);
}

static void run_gemv(void *arg)
{
  const call *c = arg;
  c->unit->gemv(c->w, c->panel, c->panels, c->x, c->out);
}

static void run_few(void *arg)
{
  const call *c = arg;
  const qlk_few_job job = {c->w, c->panel, c->panels, c->k0,  c->k1,  c->group,
                           c->m, c->x,     c->ldx,    c->out, c->ldy, c->accumulate};
  c->unit->few(&job);
}

static void run_dense(void *arg)
{
  const call *c = arg;
  qlk_dense_fn *dense = c->ordered ? c->unit->dense_ordered : c->unit->dense;
  dense(c->m, c->k1, c->x, c->ldx, c->b, c->out, c->ldy, c->accumulate);
}

static void check_pack(kc *k, const qlk_gemm_unit *unit, qlk_wtype wtype)
{
  for (size_t chunks = 0; chunks < 80; chunks++) {
    packed_case c;
    qlk_gemm_unit other = *unit;
    if (chunks % 2 != 0)
      other.nr = (uint32_t)(1 + chunks * 7 % 41);
    kc_begin(k, chunks, "k=%zu nr=%zu", chunks * unit->kr, (size_t)other.nr);
    make_case(k, KC_UNIFORM, wtype, &other, 1, chunks, &c);
    const size_t stride = c.k * c.element + kc_below(k, 3);
    unsigned char *rows = kc_memory(k, c.nr * stride, 1);
    for (size_t j = 0; j < c.nr; j++)
      memcpy(rows + j * stride, c.elements + j * c.k * c.element, c.k * c.element);
    unsigned char *panel = kc_memory(k, c.w.code_stride, 64);
    call a = {.unit = &other, .rows = rows, .stride = stride, .k1 = c.k};
    a.out = (float *)(void *)panel;
    if (kc_run(k, run_pack, &a))
      kc_same_bytes(k, panel, c.w.codes, c.w.code_stride);
    free_case(&c);
    kc_end(k);
  }
}

static void check_expand(kc *k, const qlk_gemm_unit *unit, qlk_wtype wtype)
{
  for (size_t i = 0; i < 120; i++) {
    packed_case c;
    const int kind = (int)(i % KC_KINDS);
    const size_t chunks = 1 + i * 3 / unit->kr;
    kc_begin(k, i, "k=%zu, %s", chunks * unit->kr, kc_kind_name(kind));
    make_case(k, kind, wtype, unit, 2, chunks, &c);
    call a = {.unit = unit, .w = &c.w, .panel = kc_below(k, 2)};
    a.k0 = kc_below(k, chunks) * unit->kr;
    a.k1 = a.k0 + (1 + kc_below(k, chunks - a.k0 / unit->kr)) * unit->kr;
    a.group = c.w.groups ? qlk_next_group(&c.w, 0, a.k0) : 0;
    const size_t n = (a.k1 - a.k0) * c.nr;
    a.out = kc_memory(k, n * sizeof(float), 64);
    float *want = malloc(n * sizeof(float));
    for (size_t p = a.k0; p < a.k1; p++)
      for (size_t j = 0; j < c.nr; j++)
        want[(p - a.k0) * c.nr + j] = c.values[(a.panel * c.nr + j) * c.k + p];
    if (kc_run(k, run_expand, &a))
      kc_same_f32(k, a.out, want, 1, n, n);
    free(want);
    free_case(&c);
    kc_end(k);
  }
}

/* The bound of the fast class, 2 k 2^-24 sum |a w|, with room for numbers below the normal ones. */
static double fast_bound(size_t k, double magnitude)
{
  return 2.0 * (double)(k + 1) * (0x1p-24 * magnitude + 0x1p-149);
}

/* What the sum over blocks must give: with FMA, or with the multiply and the add apart. */
static float sum_in_order(const float *x, const float *w, size_t step, size_t k, bool fused)
{
  float total = 0;
  for (size_t block = 0; block < k; block += QLK_KB) {
    float acc = 0;
    for (size_t p = block; p < k && p < block + QLK_KB; p++)
      acc = fused ? fmaf(x[p], w[p * step], acc) : acc + x[p] * w[p * step];
    total = block == 0 ? acc : total + acc;
  }
  return total;
}

/* fused: the unit's fast core uses FMA, and so must its gemv, to the bit. */
static void check_gemv(kc *k, const qlk_gemm_unit *unit, qlk_wtype wtype)
{
  for (size_t i = 0; i < 150; i++) {
    packed_case c;
    const int kind = (int)(i % KC_KINDS);
    const size_t chunks = 1 + i * 4 / unit->kr, panels = 1 + i % MAX_PANELS;
    kc_begin(k, i, "panels=%zu, k=%zu, %s", panels, chunks * unit->kr, kc_kind_name(kind));
    make_case(k, kind, wtype, unit, panels, chunks, &c);
    const size_t n = panels * c.nr;
    float *x = kc_memory(k, c.k * sizeof(float), 4), *want = malloc(n * sizeof(float));
    double *exact = malloc(n * sizeof(double)), *bound = malloc(n * sizeof(double));
    kc_fill(k, kind, x, c.k);
    for (size_t j = 0; j < n; j++) {
      const float *w = c.values + j * c.k;
      double sum = 0, magnitude = 0;
      for (size_t p = 0; p < c.k; p++) {
        sum += (double)x[p] * w[p];
        magnitude += fabs((double)x[p] * w[p]);
      }
      exact[j] = sum;
      bound[j] = fast_bound(c.k, magnitude);
      want[j] = sum_in_order(x, w, 1, c.k, true);
    }
    call a = {.unit = unit, .w = &c.w, .panels = panels, .x = x};
    a.out = kc_memory(k, n * sizeof(float), 4);
    if (kc_run(k, run_gemv, &a)) {
      kc_within(k, a.out, exact, bound, 1, n, n);
      kc_same_f32(k, a.out, want, 1, n, n);
    }
    free(want);
    free(exact);
    free(bound);
    free_case(&c);
    kc_end(k);
  }
}

/* y plus the sums of the blocks from k0 to k1 of row i with column j of the case's weights, with
 * fused multiply-adds, and the same without rounding. */
static float few_in_order(const call *a, const packed_case *c, size_t i, size_t j, float start,
                          double *exact, double *bound)
{
  const float *w = c->values + (a->panel * c->nr + j) * c->k, *x = a->x + i * a->ldx;
  double sum = a->accumulate ? (double)start : 0, magnitude = fabs(sum);
  float total = start;
  for (size_t block = a->k0; block < a->k1; block += QLK_KB) {
    float acc = 0;
    for (size_t p = block; p < a->k1 && p < block + QLK_KB; p++) {
      acc = fmaf(x[p - a->k0], w[p], acc);
      sum += (double)x[p - a->k0] * w[p];
      magnitude += fabs((double)x[p - a->k0] * w[p]);
    }
    total = block == a->k0 && !a->accumulate ? acc : total + acc;
  }
  *exact = sum;
  *bound = fast_bound(a->k1 - a->k0, magnitude);
  return total;
}

static void check_few_case(kc *k, call *a, packed_case *c, int kind)
{
  const size_t n = a->panels * c->nr, depth = a->k1 - a->k0;
  float *x = kc_memory(k, ((a->m - 1) * a->ldx + depth) * sizeof(float), 4);
  float *want = malloc(a->m * n * sizeof(float));
  double *exact = malloc(a->m * n * sizeof(double)), *bound = malloc(a->m * n * sizeof(double));
  for (size_t i = 0; i < a->m; i++)
    kc_fill(k, kind, x + i * a->ldx, depth);
  a->x = x;
  a->out = kc_memory(k, ((a->m - 1) * a->ldy + n) * sizeof(float), 4);
  for (size_t i = 0; i < a->m; i++)
    for (size_t j = 0; j < n; j++) {
      const float start = (float)kc_unit(k);
      if (a->accumulate)
        a->out[i * a->ldy + j] = start;
      want[i * n + j] = few_in_order(a, c, i, j, start, &exact[i * n + j], &bound[i * n + j]);
    }
  if (kc_run(k, run_few, a)) {
    kc_within(k, a->out, exact, bound, a->m, n, a->ldy);
    kc_same_f32(k, a->out, want, a->m, n, a->ldy);
  }
  free(want);
  free(exact);
  free(bound);
}

/* Ranges of k that begin at any block, in any group; every number of rows and of panels. */
static void check_few(kc *k, const qlk_gemm_unit *unit, qlk_wtype wtype)
{
  for (size_t i = 0; i < 150; i++) {
    packed_case c;
    const int kind = (int)(i % KC_KINDS);
    const size_t chunks = 1 + i * 4 / unit->kr, blocks = chunks * unit->kr / QLK_KB;
    call a = {.unit = unit, .w = &c.w, .m = 1 + i % unit->few_rows};
    a.panels = 1 + i / 3 % MAX_PANELS;
    a.panel = kc_below(k, MAX_PANELS - a.panels + 1);
    a.k0 = kc_below(k, blocks + 1) * QLK_KB;
    a.k0 -= a.k0 == chunks * unit->kr ? QLK_KB : 0;
    const size_t more = kc_below(k, blocks + 1) * QLK_KB;
    a.k1 = a.k0 + more < chunks * unit->kr && more > 0 ? a.k0 + more : chunks * unit->kr;
    a.accumulate = (int)kc_below(k, 2);
    kc_begin(k, i, "m=%zu, panels=%zu, k=%zu..%zu of %zu, %s%s", a.m, a.panels, a.k0, a.k1,
             chunks * unit->kr, kc_kind_name(kind), a.accumulate ? ", accumulating" : "");
    make_case(k, kind, wtype, unit, MAX_PANELS, chunks, &c);
    a.group = c.w.groups ? qlk_next_group(&c.w, 0, a.k0) : 0;
    a.ldx = a.k1 - a.k0 + kc_below(k, 3);
    a.ldy = a.panels * c.nr + kc_below(k, 3);
    check_few_case(k, &a, &c, kind);
    free_case(&c);
    kc_end(k);
  }
}

/* One dense case: m x nr sums over k, added to what is there or not. */
static void check_dense_case(kc *k, call *a, int kind, size_t nr)
{
  const size_t m = a->m, kk = a->k1, cells = m * nr;
  float *x = kc_memory(k, ((m - 1) * a->ldx + kk) * sizeof(float), 4);
  float *b = kc_memory(k, kk * nr * sizeof(float), 64), *want = malloc(cells * sizeof(float));
  double *exact = malloc(cells * sizeof(double)), *bound = malloc(cells * sizeof(double));
  for (size_t i = 0; i < m; i++)
    kc_fill(k, kind, x + i * a->ldx, kk);
  kc_fill(k, kind == KC_EXTREME || kind == KC_SPECIAL ? KC_NORMAL : kind, b, kk * nr);
  a->x = x;
  a->b = b;
  a->out = kc_memory(k, ((m - 1) * a->ldy + nr) * sizeof(float), 4);
  for (size_t i = 0; i < m; i++)
    for (size_t j = 0; j < nr; j++) {
      const float start = (float)kc_unit(k);
      double sum = a->accumulate ? (double)start : 0, magnitude = fabs(sum);
      for (size_t p = 0; p < kk; p++) {
        sum += (double)x[i * a->ldx + p] * b[p * nr + j];
        magnitude += fabs((double)x[i * a->ldx + p] * b[p * nr + j]);
      }
      exact[i * nr + j] = sum;
      bound[i * nr + j] = fast_bound(kk, magnitude);
      want[i * nr + j] = sum_in_order(x + i * a->ldx, b + j, nr, kk, false);
      if (a->accumulate) {
        a->out[i * a->ldy + j] = start;
        want[i * nr + j] = start + want[i * nr + j];
      }
    }
  if (kc_run(k, run_dense, a)) {
    kc_within(k, a->out, exact, bound, m, nr, a->ldy);
    if (a->ordered)
      kc_same_f32(k, a->out, want, m, nr, a->ldy);
  }
  free(want);
  free(exact);
  free(bound);
}

static void check_dense(kc *k, const qlk_gemm_unit *unit, bool ordered)
{
  static const size_t depths[] = {1, 2, 3, 4, 5, 7, 8, 16, 31, 61, 127, 128};
  uint64_t number = 0;
  for (size_t m = 1; m <= unit->mr; m++)
    for (size_t d = 0; d < sizeof depths / sizeof depths[0]; d++)
      for (int kind = 0; kind < KC_KINDS; kind++, number++) {
        call a = {.unit = unit, .m = m, .k1 = depths[d], .ordered = ordered};
        a.accumulate = (int)(number % 2);
        kc_begin(k, number, "m=%zu, k=%zu, %s%s", m, a.k1, kc_kind_name(kind),
                 a.accumulate ? ", accumulating" : "");
        a.ldx = a.k1 + kc_below(k, 3);
        a.ldy = unit->nr + kc_below(k, 3);
        check_dense_case(k, &a, kind, unit->nr);
        kc_end(k);
      }
}

static void bench_levels(kc *k, const qlk_gemm_unit *unit, qlk_wtype wtype, int levels, bool gemv)
{
  const size_t depth = gemv ? 4096 : QLK_KB;
  packed_case c;
  kc_begin(k, 0, "panels=2, k=%zu%s", depth,
           levels == ONE_TABLE   ? ", table"
           : levels == CODEBOOKS ? ", codebooks"
                                 : "");
  make_case_of(k, KC_UNIFORM, wtype, levels, unit, 2, depth / unit->kr, &c);
  for (size_t g = 0; g < c.w.groups; g++)
    c.ends[g] = (uint32_t)(g + 1 < c.w.groups && (g + 1) * 128 < depth ? (g + 1) * 128 : depth);
  float *x = kc_memory(k, depth * sizeof(float), 64);
  kc_fill(k, KC_UNIFORM, x, depth);
  call a = {.unit = unit, .w = &c.w, .panels = 2, .x = x, .k1 = depth};
  a.out = kc_memory(k, depth * unit->nr * sizeof(float), 64);
  const double ns = kc_time(gemv ? run_gemv : run_expand, &a);
  const double panels = gemv ? 2 : 1;
  kc_bench_line(k, ns, panels * (double)(unit->nr * depth) * (gemv ? 2 : 1),
                panels * (double)c.w.code_stride);
  free_case(&c);
  k->buffers = 0;
}

static void bench_few(kc *k, const qlk_gemm_unit *unit, qlk_wtype wtype)
{
  enum { DEPTH = 4096 };
  packed_case c;
  call a = {.unit = unit, .w = &c.w, .panels = 2, .k1 = DEPTH, .m = unit->few_rows};
  kc_begin(k, 0, "m=%zu, panels=2, k=%d", a.m, DEPTH);
  make_case_of(k, KC_UNIFORM, wtype, NO_LEVELS, unit, 2, DEPTH / unit->kr, &c);
  for (size_t g = 0; g < c.w.groups; g++)
    c.ends[g] = (uint32_t)(g + 1 < c.w.groups && (g + 1) * 128 < DEPTH ? (g + 1) * 128 : DEPTH);
  a.ldx = DEPTH + 16;
  a.ldy = 128;
  float *x = kc_memory(k, a.m * a.ldx * sizeof(float), 64);
  kc_fill(k, KC_UNIFORM, x, a.m * a.ldx);
  a.x = x;
  a.out = kc_memory(k, a.m * a.ldy * sizeof(float), 64);
  kc_bench_line(k, kc_time(run_few, &a), 4.0 * (double)(a.m * unit->nr * DEPTH),
                2.0 * (double)c.w.code_stride);
  free_case(&c);
  k->buffers = 0;
}

static void bench_weights(kc *k, const qlk_gemm_unit *unit, qlk_wtype wtype, bool gemv)
{
  const int most = formats[wtype].bits != 0 ? CODEBOOKS : NO_LEVELS;
  for (int levels = NO_LEVELS; levels <= most; levels++)
    bench_levels(k, unit, wtype, levels, gemv);
}

static void bench_dense(kc *k, const qlk_gemm_unit *unit, bool ordered)
{
  call a = {.unit = unit, .k1 = QLK_KB, .ldx = QLK_KB + 16, .ldy = 128, .ordered = ordered};
  a.m = unit->mr;
  kc_begin(k, 0, "m=%zu, k=%d", a.m, QLK_KB);
  float *x = kc_memory(k, a.m * a.ldx * sizeof(float), 64);
  float *b = kc_memory(k, a.k1 * unit->nr * sizeof(float), 64);
  kc_fill(k, KC_UNIFORM, x, a.m * a.ldx);
  kc_fill(k, KC_UNIFORM, b, a.k1 * unit->nr);
  a.x = x;
  a.b = b;
  a.out = kc_memory(k, a.m * a.ldy * sizeof(float), 64);
  kc_bench_line(k, kc_time(run_dense, &a), 2.0 * (double)(a.m * a.k1 * unit->nr), 0);
  k->buffers = 0;
}

static const char *slot_name(char *buffer, size_t size, const char *slot, const char *format)
{
  snprintf(buffer, size, "gemm.%s.%s", format, slot);
  return buffer;
}

static void check_unit(kc *k, const format_row *f, const qlk_gemm_unit *below,
                       const qlk_gemm_unit *here)
{
  char name[64];
  const size_t size = sizeof(void (*)(void));
  if (kc_wants(k, slot_name(name, sizeof name, "pack", f->name), &here->pack,
               below ? &below->pack : NULL, size) &&
      !k->bench)
    check_pack(k, here, f->wtype);
  if (here->expand != NULL && kc_wants(k, slot_name(name, sizeof name, "expand", f->name),
                                       &here->expand, below ? &below->expand : NULL, size)) {
    if (k->bench)
      bench_weights(k, here, f->wtype, false);
    else
      check_expand(k, here, f->wtype);
  }
  if (here->gemv != NULL && kc_wants(k, slot_name(name, sizeof name, "gemv", f->name), &here->gemv,
                                     below ? &below->gemv : NULL, size)) {
    if (k->bench)
      bench_weights(k, here, f->wtype, true);
    else
      check_gemv(k, here, f->wtype);
  }
  if (here->few != NULL && kc_wants(k, slot_name(name, sizeof name, "few", f->name), &here->few,
                                    below ? &below->few : NULL, size)) {
    if (k->bench)
      bench_few(k, here, f->wtype);
    else
      check_few(k, here, f->wtype);
  }
}

/* A unit must fit together: a layout names its panel width, sizes fit the tiles of the driver. */
static void check_shape(kc *k, const format_row *f, const qlk_gemm_unit *unit)
{
  k->kernel = f->name;
  kc_begin(k, 0, "mr=%u, nr=%u, kr=%u", unit->mr, unit->nr, unit->kr);
  if (unit->layout_id != QLK_LAYOUT(f->wtype, unit->nr))
    kc_fail(k, "layout id 0x%x does not belong to it", unit->layout_id);
  if (unit->mr == 0 || unit->nr == 0 || 144 % unit->mr != 0 || 128 % unit->nr != 0 ||
      unit->kr == 0 || QLK_KB % unit->kr != 0)
    kc_fail(k, "does not divide the tiles of 144 rows, 128 columns and %d deep", QLK_KB);
  if (unit->dense == NULL || unit->dense_ordered == NULL || unit->pack == NULL ||
      unit->gemv_name == NULL || unit->gemm_name == NULL || unit->ordered_name == NULL)
    kc_fail(k, "a member is missing");
  if (unit->few != NULL && (unit->few_rows == 0 || unit->few_name == NULL))
    kc_fail(k, "the kernel for few rows takes none or has no name");
  kc_end(k);
}

/* Units share their dense cores: each is tested once. */
static void check_cores(kc *k, const qlk_gemm *below, const qlk_gemm *here)
{
  const qlk_gemm_unit *unit = &here->unit[QLK_W_F32];
  const qlk_gemm_unit *other = below ? &below->unit[QLK_W_F32] : NULL;
  if (kc_wants(k, "gemm.dense", &unit->dense, other ? &other->dense : NULL, sizeof unit->dense)) {
    if (k->bench)
      bench_dense(k, unit, false);
    else
      check_dense(k, unit, false);
  }
  if (kc_wants(k, "gemm.dense_ordered", &unit->dense_ordered, other ? &other->dense_ordered : NULL,
               sizeof unit->dense_ordered)) {
    if (k->bench)
      bench_dense(k, unit, true);
    else
      check_dense(k, unit, true);
  }
}

void kc_check_gemm(kc *k, const qlk_table *scalar, const qlk_table *below, const qlk_table *here)
{
  (void)scalar;
  check_cores(k, below ? &below->gemm : NULL, &here->gemm);
  for (size_t i = 0; i < QLK_WTYPE_COUNT; i++) {
    const qlk_gemm_unit *unit = &here->gemm.unit[i];
    const qlk_gemm_unit *f32 = &here->gemm.unit[QLK_W_F32];
    check_shape(k, &formats[i], unit);
    check_unit(k, &formats[i], below ? &below->gemm.unit[i] : NULL, unit);
    /* A core of one unit alone is tested with it. */
    if (!k->bench && unit->dense != f32->dense)
      check_dense(k, unit, false);
    if (!k->bench && unit->dense_ordered != f32->dense_ordered)
      check_dense(k, unit, true);
  }
}
