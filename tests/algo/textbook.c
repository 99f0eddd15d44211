/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "textbook.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void swap_rows(double *m, size_t width, size_t a, size_t b)
{
  for (size_t j = 0; j < width; j++) {
    const double t = m[a * width + j];
    m[a * width + j] = m[b * width + j];
    m[b * width + j] = t;
  }
}

/* Gauss-Jordan with row pivoting. */
void invert(const double *a, size_t n, double *out)
{
  const size_t width = 2 * n;
  double *m = malloc(n * width * sizeof *m);
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < width; j++)
      m[i * width + j] = j < n ? a[i * n + j] : j - n == i;
  for (size_t p = 0; p < n; p++) {
    size_t best = p;
    for (size_t i = p; i < n; i++)
      if (fabs(m[i * width + p]) > fabs(m[best * width + p]))
        best = i;
    swap_rows(m, width, p, best);
    const double pivot = m[p * width + p];
    for (size_t j = 0; j < width; j++)
      m[p * width + j] /= pivot;
    for (size_t i = 0; i < n; i++) {
      const double f = m[i * width + p];
      for (size_t j = 0; i != p && j < width; j++)
        m[i * width + j] -= f * m[p * width + j];
    }
  }
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++)
      out[i * n + j] = m[i * width + n + j];
  free(m);
}

/* A = U^T U, U upper. */
static void upper_cholesky(const double *a, size_t n, double *u)
{
  memset(u, 0, n * n * sizeof *u);
  for (size_t i = 0; i < n; i++)
    for (size_t j = i; j < n; j++) {
      double sum = a[i * n + j];
      for (size_t k = 0; k < i; k++)
        sum -= u[k * n + i] * u[k * n + j];
      u[i * n + j] = i == j ? sqrt(sum) : sum / u[i * n + i];
    }
}

static double f16_scale(double s)
{
  int e;
  const double a = fabs((double)(float)s);
  if (a == 0)
    return 1;
  if (a < 0x1p-14)
    return 0x1p-14;
  frexp(a, &e);
  return ldexp(nearbyint(ldexp(a, 11 - e)), e - 11);
}

static void find_classical(const setting *t, double lo, double hi, double *s, int *z)
{
  const int maxq = (1 << t->bits) - 1;
  float l = (float)lo, h = (float)hi;
  if (t->sym) {
    h = fmaxf(-l, h);
    l = l < 0 ? -h : l;
  }
  if (l == 0 && h == 0) {
    l = -1;
    h = 1;
  }
  const float scale = (h - l) / (float)maxq;
  *s = (double)scale;
  *z = t->sym ? (maxq + 1) / 2 : (int)nearbyintf(-l / scale);
}

void find_grid(const setting *t, const double *x, size_t n, double *s, int *z)
{
  const int maxq = (1 << t->bits) - 1;
  double lo = 0, hi = 0;
  for (size_t i = 0; i < n; i++) {
    lo = fmin(lo, x[i]);
    hi = fmax(hi, x[i]);
  }
  if (t->stale) {
    find_classical(t, lo, hi, s, z);
    return;
  }
  *s = f16_scale(t->sym ? 2 * fmax(-lo, hi) / maxq : (hi - lo) / maxq);
  *z = t->sym || lo == hi ? (maxq + 1) / 2 : (int)fmin(nearbyint(-lo / *s), maxq);
}

int nearest_code(const setting *t, double x, double s, int z)
{
  const int maxq = (1 << t->bits) - 1;
  const double level = t->stale ? (double)nearbyintf((float)x / (float)s) : nearbyint(x / s);
  return (int)fmin(fmax(level + z, 0), maxq);
}

/* The classical program computes in f32. */
static double value_of(const setting *t, int code, double s, int z)
{
  return t->stale ? (double)((float)s * (float)(code - z)) : s * (code - z);
}

/* Largest diagonal element of the group of column c. */
static double group_most(const double *diag, size_t cols, size_t group, size_t c)
{
  double most = 0;
  for (size_t i = c / group * group; i < cols && i / group == c / group; i++)
    most = fmax(most, diag[i]);
  return most;
}

static int comes_before(const setting *t, const double *diag, size_t cols, size_t i, size_t j)
{
  if (t->order == QL_GPTQ_ORDER_GROUP_AWARE && i / t->group != j / t->group) {
    const double x = group_most(diag, cols, t->group, i), y = group_most(diag, cols, t->group, j);
    return x != y ? x > y : i < j;
  }
  return diag[i] != diag[j] ? diag[i] > diag[j] : i < j;
}

/* Insertion sort. */
static void make_order(const setting *t, const double *diag, size_t cols, size_t *perm)
{
  for (size_t c = 0; c < cols; c++) {
    size_t k = c;
    for (;
         k > 0 && t->order != QL_GPTQ_ORDER_NATURAL && comes_before(t, diag, cols, c, perm[k - 1]);
         k--)
      perm[k] = perm[k - 1];
    perm[k] = c;
  }
}

static size_t group_of(const setting *t, const size_t *perm, size_t k)
{
  return (t->order == QL_GPTQ_ORDER_ACT ? k : perm[k]) / t->group;
}

static void find_group(const setting *t, const textbook *b, const double *w, size_t g, double *s,
                       int *z)
{
  double *x = malloc(b->cols * sizeof *x);
  size_t n = 0;
  for (size_t k = 0; k < b->cols; k++)
    if (group_of(t, b->perm, k) == g)
      x[n++] = w[k];
  find_grid(t, x, n, s, z);
  free(x);
}

static void quantize_row(const setting *t, textbook *b, size_t r, double *w)
{
  const size_t n = b->cols, groups = (n + t->group - 1) / t->group;
  double *s = calloc(groups, sizeof *s), *stale = malloc(n * sizeof *stale);
  int *z = calloc(groups, sizeof *z);
  const int find_first = t->stale && groups == 1; /* before dead columns are cleared */
  b->loss[r] = 0;
  for (size_t k = 0; k < n && !find_first; k++)
    w[k] = b->dead[b->perm[k]] ? 0 : w[k];
  for (size_t g = 0; (t->fixed || groups == 1) && g < groups; g++)
    find_group(t, b, w, g, &s[g], &z[g]);
  for (size_t k = 0; k < n; k++)
    w[k] = b->dead[b->perm[k]] ? 0 : w[k];
  for (size_t k = 0; k < n; k++) {
    const size_t g = group_of(t, b->perm, k);
    if (t->stale && k % t->stale == 0)
      memcpy(stale, w, n * sizeof *stale);
    if (!t->fixed && groups > 1 && (k == 0 || group_of(t, b->perm, k - 1) != g))
      find_group(t, b, t->stale ? stale : w, g, &s[g], &z[g]);
    const int code = nearest_code(t, w[k], s[g], z[g]);
    const double error = (w[k] - value_of(t, code, s[g], z[g])) / b->inverse[k * n + k];
    b->codes[r * n + b->perm[k]] = code;
    b->loss[r] += error * error;
    for (size_t j = k; j < n; j++)
      w[j] -= error * b->inverse[k * n + j];
  }
  free(s);
  free(z);
  free(stale);
}

textbook run_textbook(const layer *l, const setting *t)
{
  const size_t n = l->cols;
  textbook b = {l->rows,
                n,
                malloc(l->rows * n * sizeof(int)),
                malloc(l->rows * sizeof(double)),
                malloc(n * n * sizeof(double)),
                malloc(n * sizeof(size_t)),
                malloc(n)};
  double *h = calloc(n * n, sizeof *h), *inverse = malloc(n * n * sizeof *inverse);
  double *diag = malloc(n * sizeof *diag), *w = malloc(n * sizeof *w), mean = 0;
  /* The classical H is 2 / tokens times ours, and a dead column 1 in it. */
  const double stand_in = t->stale ? (double)l->tokens / 2 : 0;
  size_t counted = 0;
  for (size_t c = 0; c < n; c++) {
    diag[c] = l->h[c * n + c];
    b.dead[c] = diag[c] == 0;
    mean += b.dead[c] ? stand_in : diag[c];
    counted += t->stale || !b.dead[c];
  }
  mean /= (double)counted;
  make_order(t, diag, n, b.perm);
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++)
      h[i * n + j] = l->h[b.perm[i] * n + b.perm[j]] + (i == j ? t->damp * mean : 0) +
                     (i == j && b.dead[b.perm[i]] ? stand_in : 0);
  invert(h, n, inverse);
  upper_cholesky(inverse, n, b.inverse);
  for (size_t r = 0; r < l->rows; r++) {
    for (size_t k = 0; k < n; k++)
      w[k] = (double)l->w[r * n + b.perm[k]];
    quantize_row(t, &b, r, w);
  }
  free(h);
  free(inverse);
  free(diag);
  free(w);
  return b;
}

void free_textbook(textbook *b)
{
  free(b->codes);
  free(b->loss);
  free(b->inverse);
  free(b->perm);
  free(b->dead);
}
