/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cache.h"

#include "checked.h"

#include <string.h>

const unsigned char qli_cache_magic[8] = {'Q', 'L', 'P', 'A', 'C', 'K', 'E', 'D'};

static uint64_t mix(uint64_t sum, uint64_t word)
{
  sum = (sum ^ word) * 0x9e3779b97f4a7c15u;
  return sum ^ sum >> 29;
}

/* Four words at a time, so that the multiplications overlap. */
uint64_t qli_cache_sum(uint64_t sum, const void *bytes, size_t size)
{
  const unsigned char *p = bytes;
  uint64_t lane[4] = {sum, sum + 1, sum + 2, sum + 3}, words[4];
  for (size_t left = size; left > 0;) {
    const size_t n = qli_min_size(sizeof words, left);
    if (n < sizeof words)
      memset(words, 0, sizeof words);
    memcpy(words, p, n);
    for (size_t i = 0; i < 4; i++)
      lane[i] = mix(lane[i], words[i]);
    p += n;
    left -= n;
  }
  sum = mix(sum, (uint64_t)size);
  for (size_t i = 0; i < 4; i++)
    sum = mix(sum, lane[i]);
  return sum;
}

uint64_t qli_cache_head_sum(const qli_cache_header *header, size_t head_bytes)
{
  qli_cache_header h = *header;
  h.head_sum = 0;
  return qli_cache_sum(qli_cache_sum(0, &h, sizeof h), header + 1, head_bytes - sizeof h);
}

uint64_t qli_cache_fingerprint(const ql_ctx *ctx)
{
  uint64_t sum = mix(QLI_CACHE_VERSION, sizeof(void *));
  for (size_t i = 0; i < QLK_WTYPE_COUNT; i++) {
    const qlk_gemm_unit *unit = &ctx->kernels.gemm.unit[i];
    sum = mix(sum, (uint64_t)unit->layout_id << 32 | (uint64_t)unit->nr << 16 | unit->kr);
  }
  return sum;
}

static bool append(size_t *total, uint64_t count, size_t *at)
{
  size_t bytes;
  *at = *total;
  return count <= SIZE_MAX / 8 && qli_mul_size((size_t)count, sizeof(float), &bytes) &&
         qli_add_size(bytes, 63, &bytes) && qli_add_size(*total, bytes / 64 * 64, total) &&
         *total <= PTRDIFF_MAX;
}

bool qli_cache_extra_of(const qli_cache_record *r, qli_cache_extra *extra)
{
  extra->total = 0;
  return append(&extra->total, (r->flags & QLI_CACHE_IN_SCALE) != 0 ? r->packed_k : 0,
                &extra->in_scale) &&
         append(&extra->total, r->side_count, &extra->side_cols) &&
         append(&extra->total, r->side_count, &extra->side_at) &&
         append(&extra->total, r->side_count, &extra->side_scale);
}
