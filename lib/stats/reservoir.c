/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "stats.h"

#include "checked.h"
#include "rng.h"

#include <string.h>

/* Every row gets a random key; the sample is the rows with the smallest keys. It is uniform, it can
 * be taken in one pass, and the sample of a union is that of the two samples' rows: merging needs
 * nothing else. For that, keys of different streams must be independent though the streams have the
 * same seed and count their tokens alike: so the key depends on the row's content too. (Content
 * alone would not do: equal rows would be kept or lost together.) */

uint64_t qli_reservoir_content(const float *values, size_t first, size_t n)
{
  uint64_t sum = 0;
  for (size_t i = 0; i < n; i++) {
    uint32_t bits;
    memcpy(&bits, values + i, sizeof bits);
    sum += bits * (((uint64_t)(first + i) * 0x9e3779b97f4a7c15u) | 1u);
  }
  return sum;
}

uint64_t qli_reservoir_key(uint64_t seed, uint64_t token, uint64_t content)
{
  return qli_random_u64(qli_random_u64(seed, token), content);
}

static int grow(ql_stats *s, size_t rows)
{
  const size_t cols = s->x.cols;
  qli_stats_reservoir *r = &s->reservoir, new = *r;
  size_t values;
  if (!qli_mul_size(rows, cols, &values))
    return 0;
  new.reserved = rows;
  new.keys = qli_alloc(s->ctx, rows, sizeof *r->keys);
  new.slots = qli_alloc(s->ctx, rows, sizeof *r->slots);
  new.rows = qli_alloc(s->ctx, values, sizeof *r->rows);
  const int whole = new.keys != NULL &&new.slots != NULL &&new.rows != NULL;
  if (whole && r->count > 0) {
    memcpy(new.keys, r->keys, r->count * sizeof *r->keys);
    memcpy(new.slots, r->slots, r->count * sizeof *r->slots);
    memcpy(new.rows, r->rows, r->count * cols * sizeof *r->rows);
  }
  const qli_stats_reservoir old = whole ? *r : new;
  if (whole)
    *r = new;
  qli_free(s->ctx, old.keys);
  qli_free(s->ctx, old.slots);
  qli_free(s->ctx, old.rows);
  return whole;
}

ql_status qli_reservoir_reserve(ql_stats *s, uint64_t more, ql_error *error)
{
  const qli_stats_reservoir *r = &s->reservoir;
  const size_t room = r->limit - r->count;
  const size_t wanted = r->count + (more < room ? (size_t)more : room);
  if (wanted <= r->reserved)
    return QL_STATUS_OK;
  const size_t ahead = r->reserved <= r->limit / 2 ? 2 * r->reserved : r->limit;
  return grow(s, ahead > wanted ? ahead : wanted) ? QL_STATUS_OK : qli_stats_no_memory(s, error);
}

float *qli_reservoir_place(qli_stats_reservoir *r, size_t cols, uint64_t key)
{
  size_t slot = r->count, at = r->count;
  if (r->count == r->limit) {
    if (key >= r->keys[r->count - 1])
      return NULL;
    at = r->count - 1;
    slot = r->slots[at];
  } else {
    r->count++;
  }
  while (at > 0 && r->keys[at - 1] > key) {
    r->keys[at] = r->keys[at - 1];
    r->slots[at] = r->slots[at - 1];
    at--;
  }
  r->keys[at] = key;
  r->slots[at] = slot;
  return r->rows + slot * cols;
}
