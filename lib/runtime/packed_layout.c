/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "packed_layout.h"

#include "checked.h"

static bool append(size_t *total, size_t count, size_t size, size_t *at)
{
  size_t bytes;
  *at = *total;
  if (!qli_mul_size(count, size, &bytes) || !qli_add_size(bytes, 63, &bytes) ||
      !qli_add_size(*total, bytes / 64 * 64, total))
    return false;
  return *total <= PTRDIFF_MAX;
}

static size_t panel_bytes_of(const qlk_gemm_unit *unit, qlk_wtype wtype, size_t packed_k,
                             bool *fits)
{
  const size_t word = wtype == QLK_W_F16 || wtype == QLK_W_BF16 ? 2 : wtype == QLK_W3 ? 12 : 4;
  size_t bytes;
  *fits = qli_mul_size(packed_k / unit->kr, word * unit->nr, &bytes) && bytes <= PTRDIFF_MAX;
  return bytes;
}

/* Elements of the table section; a codebook for each column of each panel. */
static bool count_levels(const qli_packed_shape *s, const qlk_gemm_unit *unit, ql_packed *p,
                         size_t *count)
{
  size_t columns = 1;
  if (s->tables > 1) {
    p->weights.table_stride = unit->nr * s->levels;
    if (!qli_mul_size(p->panels, unit->nr, &columns))
      return false;
  }
  return qli_mul_size(s->tables > 0 ? columns : 0, s->levels, count);
}

bool qli_packed_lay_out(const qli_packed_shape *s, const qlk_gemm_unit *unit,
                        qli_packed_sections *at, ql_packed *p)
{
  const size_t scale_size = s->scale_type == QL_DTYPE_F32 ? 4 : 2;
  size_t scales, levels;
  bool fits;
  p->panels = qli_ceil_div(s->n, unit->nr);
  p->weights.code_stride = panel_bytes_of(unit, s->wtype, s->packed_k, &fits);
  if (!fits || !count_levels(s, unit, p, &levels) ||
      !qli_mul_size(s->groups, unit->nr, &p->weights.scale_stride) ||
      !qli_mul_size(p->weights.scale_stride, p->panels, &scales))
    return false;
  at->total = 0;
  return append(&at->total, p->panels, p->weights.code_stride, &at->codes) &&
         append(&at->total, scales, scale_size, &at->scales) &&
         append(&at->total, s->zeros ? scales : 0, sizeof(int16_t), &at->zeros) &&
         append(&at->total, s->fzeros ? scales : 0, scale_size, &at->fzeros) &&
         append(&at->total, s->sums ? scales : 0, sizeof(int32_t), &at->sums) &&
         append(&at->total, levels, sizeof(float), &at->table) &&
         append(&at->total, s->unit != 0.0f ? QLI_PACKED_NUMBERS : 0, 1, &at->numbers) &&
         append(&at->total, s->groups, sizeof(uint32_t), &at->ends) &&
         append(&at->total, s->gather ? s->packed_k : 0, sizeof(int32_t), &at->gather);
}

void qli_packed_bind(const ql_ctx *ctx, const qli_packed_shape *s, const qli_packed_sections *at,
                     const unsigned char *run, ql_packed *p)
{
  const qlk_gemm_unit *unit = &ctx->kernels.gemm.unit[s->wtype];
  p->ctx = ctx;
  p->wtype = s->wtype;
  p->layout = unit->layout_id;
  p->n = s->n;
  p->k = s->k;
  p->nr = unit->nr;
  p->data_bytes = at->total;
  p->weights.codes = run + at->codes;
  p->weights.scales = run + at->scales;
  p->weights.zeros = s->zeros ? (const int16_t *)(const void *)(run + at->zeros) : NULL;
  p->weights.fzeros = s->fzeros ? run + at->fzeros : NULL;
  p->weights.sums = s->sums ? (const int32_t *)(const void *)(run + at->sums) : NULL;
  p->weights.table = s->tables > 0 ? (const float *)(const void *)(run + at->table) : NULL;
  p->weights.numbers = s->unit != 0.0f ? run + at->numbers : NULL;
  p->weights.unit = s->unit;
  p->weights.ends = (const uint32_t *)(const void *)(run + at->ends);
  p->weights.groups = s->groups;
  p->weights.k = s->packed_k;
  p->weights.scale_type = s->scale_type;
  p->gather = s->gather ? (const int32_t *)(const void *)(run + at->gather) : NULL;
}
