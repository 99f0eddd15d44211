/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "kcheck.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Register tiles: element (i, j) is summed in the order of depth, ordered to the bit, fast within
 * the bound of its class. */
enum { F32_ADD, F32_WIDE, F32_ORDERED_ADD, F32_ORDERED_WIDE, F64_ADD, F64_ORDERED, SLOTS };

typedef struct {
  const qlk_linalg *t;
  int which;
  size_t depth;
  const void *a, *b;
  void *c;
  size_t ldc;
} call;

static void run(void *arg)
{
  const call *c = arg;
  switch (c->which) {
  case F32_ADD: c->t->f32.add(c->depth, c->a, c->b, c->c, c->ldc); break;
  case F32_WIDE: c->t->f32.add_wide(c->depth, c->a, c->b, c->c, c->ldc); break;
  case F32_ORDERED_ADD: c->t->f32_ordered.add(c->depth, c->a, c->b, c->c, c->ldc); break;
  case F32_ORDERED_WIDE: c->t->f32_ordered.add_wide(c->depth, c->a, c->b, c->c, c->ldc); break;
  case F64_ADD: c->t->f64.add(c->depth, c->a, c->b, c->c, c->ldc); break;
  default: c->t->f64_ordered.add(c->depth, c->a, c->b, c->c, c->ldc); break;
  }
}

static void shape_of(const qlk_linalg *t, int which, size_t *mr, size_t *nr)
{
  const qlk_tile_f32 *f = which < F32_ORDERED_ADD ? &t->f32 : &t->f32_ordered;
  const qlk_tile_f64 *d = which == F64_ADD ? &t->f64 : &t->f64_ordered;
  *mr = which < F64_ADD ? f->mr : d->mr;
  *nr = which < F64_ADD ? f->nr : d->nr;
}

static void store(void *array, size_t at, bool wide, double v)
{
  if (wide)
    ((double *)array)[at] = v;
  else
    ((float *)array)[at] = (float)v;
}

static double load(const void *array, size_t at, bool wide)
{
  return wide ? ((const double *)array)[at] : (double)((const float *)array)[at];
}

/* The sum that the ordered class must give, and the bound of the fast one around the long sum. */
static bool element_good(const call *c, double start, size_t i, size_t j, double got)
{
  const bool wide = c->which >= F64_ADD,
             widened = c->which == F32_WIDE || c->which == F32_ORDERED_WIDE;
  const bool ordered =
      c->which == F32_ORDERED_ADD || c->which == F32_ORDERED_WIDE || c->which == F64_ORDERED;
  float narrow_sum = widened ? 0 : (float)start;
  double wide_sum = start, magnitude = fabs(start);
  long double exact = start;
  for (size_t d = 0; d < c->depth; d++) {
    const double a = load(c->a, d * QLK_PANEL + i, wide), b = load(c->b, d * QLK_PANEL + j, wide);
    narrow_sum += (float)a * (float)b;
    wide_sum += a * b;
    exact += (long double)a * b;
    magnitude += fabs(a * b);
  }
  const double want = wide ? wide_sum : widened ? start + (double)narrow_sum : (double)narrow_sum;
  if (ordered)
    return got == want;
  return fabsl(got - exact) <=
         2.0 * (double)(c->depth + 1) * (wide ? 0x1p-53 : 0x1p-24) * magnitude;
}

static void check_case(kc *k, call *c)
{
  const bool wide = c->which >= F64_ADD;
  const bool wide_c = wide || c->which == F32_WIDE || c->which == F32_ORDERED_WIDE;
  const size_t size = wide ? 8 : 4, out = wide_c ? 8 : 4;
  size_t mr, nr;
  shape_of(c->t, c->which, &mr, &nr);
  const size_t panel = c->depth * QLK_PANEL, at_a = kc_below(k, QLK_PANEL / mr) * mr,
               at_b = kc_below(k, QLK_PANEL / nr) * nr, cells = (mr - 1) * c->ldc + nr;
  unsigned char *a = kc_memory(k, panel * size, 64), *b = kc_memory(k, panel * size, 64);
  c->c = kc_memory(k, cells * out, out);
  double *start = malloc(mr * nr * sizeof(double));
  for (size_t i = 0; i < panel; i++) {
    store(a, i, wide, kc_unit(k) - 0.5);
    store(b, i, wide, kc_unit(k) - 0.5);
  }
  for (size_t i = 0; i < mr * nr; i++) {
    start[i] = wide_c ? kc_unit(k) : (double)(float)kc_unit(k);
    store(c->c, i / nr * c->ldc + i % nr, wide_c, start[i]);
  }
  c->a = a + at_a * size;
  c->b = b + at_b * size;
  const bool ran = kc_run(k, run, c);
  for (size_t i = 0; ran && i < mr * nr; i++) {
    const double got = load(c->c, i / nr * c->ldc + i % nr, wide_c);
    if (!element_good(c, start[i], i / nr, i % nr, got))
      kc_fail(k, "first bad element (%zu, %zu): got %a", i / nr, i % nr, got);
  }
  free(start);
}

static void check_slot(kc *k, const qlk_linalg *t, int which)
{
  for (size_t depth = 0; depth < 40; depth++) {
    size_t mr, nr;
    shape_of(t, which, &mr, &nr);
    call c = {.t = t, .which = which, .depth = depth < 38 ? depth : 256 + depth % 38};
    kc_begin(k, depth, "depth=%zu, tile %zux%zu", c.depth, mr, nr);
    c.ldc = nr + kc_below(k, 3);
    check_case(k, &c);
    kc_end(k);
  }
}

static void bench(kc *k, const qlk_linalg *t, int which)
{
  size_t mr, nr;
  shape_of(t, which, &mr, &nr);
  call c = {.t = t, .which = which, .depth = 256, .ldc = QLK_PANEL};
  kc_begin(k, 0, "depth=256, tile %zux%zu", mr, nr);
  void *a = kc_memory(k, 256 * QLK_PANEL * 8, 64), *b = kc_memory(k, 256 * QLK_PANEL * 8, 64);
  c.c = kc_memory(k, QLK_PANEL * QLK_PANEL * 8, 64);
  memset(a, 0, 256 * QLK_PANEL * 8);
  memset(b, 0, 256 * QLK_PANEL * 8);
  memset(c.c, 0, QLK_PANEL * QLK_PANEL * 8);
  c.a = a;
  c.b = b;
  kc_bench_line(k, kc_time(run, &c), 2.0 * 256 * (double)(mr * nr), 0);
  k->buffers = 0;
}

void kc_check_linalg(kc *k, const qlk_table *scalar, const qlk_table *below, const qlk_table *here)
{
  static const char *const names[SLOTS] = {"linalg.f32.add",         "linalg.f32.add_wide",
                                           "linalg.f32_ordered.add", "linalg.f32_ordered.add_wide",
                                           "linalg.f64.add",         "linalg.f64_ordered.add"};
  const qlk_linalg *t = &here->linalg;
  const void *slots[SLOTS] = {&t->f32.add,         &t->f32.add_wide,
                              &t->f32_ordered.add, &t->f32_ordered.add_wide,
                              &t->f64.add,         &t->f64_ordered.add};
  (void)scalar;
  for (int which = 0; which < SLOTS; which++) {
    const ptrdiff_t at = (const char *)slots[which] - (const char *)here;
    if (!kc_wants(k, names[which], slots[which], below ? (const char *)below + at : NULL,
                  sizeof(void (*)(void))))
      continue;
    if (k->bench)
      bench(k, t, which);
    else
      check_slot(k, t, which);
  }
}
