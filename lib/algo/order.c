/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "order.h"

#include "checked.h"
#include "error.h"

#include <stdbool.h>

typedef struct {
  double group_most; /* largest diagonal element of the group; 0 where groups do not matter */
  double diag;
  int32_t group;
  int32_t col;
} key;

/* A total order: no two keys are equal, since no two columns are. */
static bool before(const key *a, const key *b)
{
  if (a->group_most != b->group_most)
    return a->group_most > b->group_most;
  if (a->group != b->group)
    return a->group < b->group;
  if (a->diag != b->diag)
    return a->diag > b->diag;
  return a->col < b->col;
}

static void sift(key *keys, size_t root, size_t n)
{
  for (size_t child; (child = 2 * root + 1) < n; root = child) {
    if (child + 1 < n && before(&keys[child], &keys[child + 1]))
      child++;
    if (!before(&keys[root], &keys[child]))
      return;
    const key swapped = keys[root];
    keys[root] = keys[child];
    keys[child] = swapped;
  }
}

/* Heapsort: the C library's qsort may allocate behind the host's allocator. */
static void sort(key *keys, size_t n)
{
  for (size_t i = n / 2; i-- > 0;)
    sift(keys, i, n);
  for (size_t last = n; last-- > 1;) {
    const key swapped = keys[0];
    keys[0] = keys[last];
    keys[last] = swapped;
    sift(keys, 0, last);
  }
}

static double largest(const double *diag, size_t first, size_t end)
{
  double most = 0.0;
  for (size_t c = first; c < end; c++)
    most = diag[c] > most ? diag[c] : most;
  return most;
}

static void make_keys(ql_gptq_order order, size_t cols, size_t group, const double *diag, key *keys)
{
  for (size_t c = 0; c < cols; c++)
    keys[c] = (key){0.0, diag[c], 0, (int32_t)c};
  for (size_t first = 0; order == QL_GPTQ_ORDER_GROUP_AWARE && first < cols; first += group) {
    const size_t end = first + qli_min_size(group, cols - first);
    const double most = largest(diag, first, end);
    for (size_t c = first; c < end; c++) {
      keys[c].group_most = most;
      keys[c].group = (int32_t)(first / group);
    }
  }
}

ql_status qli_order(const ql_ctx *ctx, ql_gptq_order order, size_t cols, size_t group,
                    const double *diag, int32_t *perm, ql_error *error)
{
  if (order == QL_GPTQ_ORDER_NATURAL) {
    for (size_t c = 0; c < cols; c++)
      perm[c] = (int32_t)c;
    return QL_STATUS_OK;
  }
  key *keys = qli_alloc(ctx, cols, sizeof *keys);
  if (keys == NULL)
    return qli_fail(error, QL_STATUS_NO_MEMORY, "no memory to order %zu columns", cols);
  make_keys(order, cols, group, diag, keys);
  sort(keys, cols);
  for (size_t c = 0; c < cols; c++)
    perm[c] = keys[c].col;
  qli_free(ctx, keys);
  return QL_STATUS_OK;
}
