/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "qlk_wint_scalar.h"

/* Weights of 2, 3, 4 and 8 bits. Packing is for any panel width, so every ISA uses it. */

static void store_word(unsigned char *panel, size_t at, uint32_t word)
{
  for (int i = 0; i < 4; i++)
    panel[4 * at + (size_t)i] = (unsigned char)(word >> 8 * i);
}

/* bits of count codes from bit low on, packed densely. */
static uint32_t gather_bits(const unsigned char *codes, size_t count, uint32_t low, uint32_t bits)
{
  uint32_t word = 0;
  for (size_t t = 0; t < count; t++)
    word |= ((uint32_t)codes[t] >> low & ((1u << bits) - 1)) << (uint32_t)t * bits;
  return word;
}

static inline void pack(uint32_t bits, const unsigned char *rows, size_t stride, size_t nr,
                        size_t k, unsigned char *panel)
{
  const size_t kr = 32 / bits;
  for (size_t c = 0; c < k / kr; c++)
    for (size_t j = 0; j < nr; j++)
      store_word(panel, c * nr + j, gather_bits(rows + j * stride + c * kr, kr, 0, bits));
}

static void qlk_pack_w2_scalar(const unsigned char *rows, size_t stride, size_t nr, size_t k,
                               unsigned char *panel)
{
  pack(2, rows, stride, nr, k, panel);
}

static void qlk_pack_w4_scalar(const unsigned char *rows, size_t stride, size_t nr, size_t k,
                               unsigned char *panel)
{
  pack(4, rows, stride, nr, k, panel);
}

static void qlk_pack_w8_scalar(const unsigned char *rows, size_t stride, size_t nr, size_t k,
                               unsigned char *panel)
{
  pack(8, rows, stride, nr, k, panel);
}

static uint32_t third_bits(const unsigned char *codes)
{
  uint32_t word = 0;
  for (size_t t = 0; t < 32; t++)
    word |= ((uint32_t)codes[t] >> 2 & 1) << qlk_third_bit(t);
  return word;
}

static void qlk_pack_w3_scalar(const unsigned char *rows, size_t stride, size_t nr, size_t k,
                               unsigned char *panel)
{
  for (size_t c = 0; c < k / 32; c++)
    for (size_t j = 0; j < nr; j++) {
      const unsigned char *codes = rows + j * stride + c * 32;
      store_word(panel, c * 3 * nr + j, gather_bits(codes, 16, 0, 2));
      store_word(panel, (c * 3 + 1) * nr + j, gather_bits(codes + 16, 16, 0, 2));
      store_word(panel, (c * 3 + 2) * nr + j, third_bits(codes));
    }
}

static float load_zero(int bits, const qlk_weights *w, size_t at)
{
  if (w->fzeros != NULL)
    return qlk_wint_scale(w->scale_type, w->fzeros, at);
  return (float)(w->zeros != NULL ? w->zeros[at] : 1 << (bits - 1));
}

/* Levels of column j, the first of them that of code 0. */
static const float *levels_of(int bits, const qlk_weights *w, size_t panel, size_t j)
{
  return w->table + (w->table_stride != 0 ? panel * w->table_stride + (j << bits) : 0);
}

static void expand_levels(const int bits, const qlk_weights *w, size_t panel, size_t k0, size_t k1,
                          size_t group, float *out)
{
  const size_t kr = qlk_wint_kr(bits), chunk_bytes = qlk_wint_chunk_bytes(bits);
  const unsigned char *chunk = w->codes + panel * w->code_stride + k0 / kr * chunk_bytes;
  for (size_t k = k0; k < k1; k++) {
    const size_t t = (k - k0) % kr;
    group = qlk_next_group(w, group, k);
    const size_t at = panel * w->scale_stride + group * NR;
    for (size_t j = 0; j < NR; j++)
      *out++ = qlk_wint_scale(w->scale_type, w->scales, at + j) *
               levels_of(bits, w, panel, j)[qlk_wint_code(bits, chunk, t, j)];
    chunk += t + 1 == kr ? chunk_bytes : 0;
  }
}

static inline void expand(const int bits, const qlk_weights *w, size_t panel, size_t k0, size_t k1,
                          size_t group, float *out)
{
  const size_t kr = qlk_wint_kr(bits), chunk_bytes = qlk_wint_chunk_bytes(bits);
  const unsigned char *chunk = w->codes + panel * w->code_stride + k0 / kr * chunk_bytes;
  if (w->table != NULL) {
    expand_levels(bits, w, panel, k0, k1, group, out);
    return;
  }
  for (size_t k = k0; k < k1; group = qlk_next_group(w, group, k)) {
    const size_t at = panel * w->scale_stride + group * NR;
    const size_t end = qlk_run_end(w, group, k1);
    float scale[NR], zero[NR];
    for (size_t j = 0; j < NR; j++) {
      scale[j] = qlk_wint_scale(w->scale_type, w->scales, at + j);
      zero[j] = load_zero(bits, w, at + j);
    }
    for (; k < end; k += kr, chunk += chunk_bytes)
      for (size_t t = 0; t < kr; t++, out += NR)
        for (size_t j = 0; j < NR; j++)
          out[j] = scale[j] * ((float)qlk_wint_code(bits, chunk, t, j) - zero[j]);
  }
}

static void qlk_expand_f32_w2p16_scalar(const qlk_weights *w, size_t panel, size_t k0, size_t k1,
                                        size_t group, float *out)
{
  expand(2, w, panel, k0, k1, group, out);
}

static void qlk_expand_f32_w3p16_scalar(const qlk_weights *w, size_t panel, size_t k0, size_t k1,
                                        size_t group, float *out)
{
  expand(3, w, panel, k0, k1, group, out);
}

static void qlk_expand_f32_w4p16_scalar(const qlk_weights *w, size_t panel, size_t k0, size_t k1,
                                        size_t group, float *out)
{
  expand(4, w, panel, k0, k1, group, out);
}

static void qlk_expand_f32_w8p16_scalar(const qlk_weights *w, size_t panel, size_t k0, size_t k1,
                                        size_t group, float *out)
{
  expand(8, w, panel, k0, k1, group, out);
}

void qlk_fill_wint_scalar(qlk_gemm *t)
{
  t->unit[QLK_W2] = (qlk_gemm_unit){
      .layout_id = QLK_LAYOUT(QLK_W2, NR),
      .mr = 4,
      .nr = NR,
      .kr = 16,
      .pack = qlk_pack_w2_scalar,
      .expand = qlk_expand_f32_w2p16_scalar,
      .dense = qlk_dense_f32p16_scalar,
      .dense_ordered = qlk_dense_f32p16_scalar,
      .gemv_name = "qlk_gemm_f32_w2p16_scalar",
      .gemm_name = "qlk_gemm_f32_w2p16_scalar",
      .ordered_name = "qlk_gemm_f32_w2p16_scalar",
  };
  t->unit[QLK_W3] = (qlk_gemm_unit){
      .layout_id = QLK_LAYOUT(QLK_W3, NR),
      .mr = 4,
      .nr = NR,
      .kr = 32,
      .pack = qlk_pack_w3_scalar,
      .expand = qlk_expand_f32_w3p16_scalar,
      .dense = qlk_dense_f32p16_scalar,
      .dense_ordered = qlk_dense_f32p16_scalar,
      .gemv_name = "qlk_gemm_f32_w3p16_scalar",
      .gemm_name = "qlk_gemm_f32_w3p16_scalar",
      .ordered_name = "qlk_gemm_f32_w3p16_scalar",
  };
  t->unit[QLK_W4] = (qlk_gemm_unit){
      .layout_id = QLK_LAYOUT(QLK_W4, NR),
      .mr = 4,
      .nr = NR,
      .kr = 8,
      .pack = qlk_pack_w4_scalar,
      .expand = qlk_expand_f32_w4p16_scalar,
      .dense = qlk_dense_f32p16_scalar,
      .dense_ordered = qlk_dense_f32p16_scalar,
      .gemv_name = "qlk_gemm_f32_w4p16_scalar",
      .gemm_name = "qlk_gemm_f32_w4p16_scalar",
      .ordered_name = "qlk_gemm_f32_w4p16_scalar",
  };
  t->unit[QLK_W8] = (qlk_gemm_unit){
      .layout_id = QLK_LAYOUT(QLK_W8, NR),
      .mr = 4,
      .nr = NR,
      .kr = 4,
      .pack = qlk_pack_w8_scalar,
      .expand = qlk_expand_f32_w8p16_scalar,
      .dense = qlk_dense_f32p16_scalar,
      .dense_ordered = qlk_dense_f32p16_scalar,
      .gemv_name = "qlk_gemm_f32_w8p16_scalar",
      .gemm_name = "qlk_gemm_f32_w8p16_scalar",
      .ordered_name = "qlk_gemm_f32_w8p16_scalar",
  };
}
