/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLE_CONFIG_H
#define QLE_CONFIG_H

#include <quantlib/format.h>
#include <quantlib/status.h>

#include <stddef.h>
#include <stdint.h>

/* What config.json (with quantization_config or quantize_config.json) and generation_config.json
 * say, checked and with defaults resolved. */

typedef enum { QLE_ARCH_LLAMA, QLE_ARCH_MISTRAL, QLE_ARCH_QWEN2, QLE_ARCH_QWEN3 } qle_arch;
typedef enum { QLE_ROPE_DEFAULT, QLE_ROPE_LINEAR, QLE_ROPE_LLAMA3, QLE_ROPE_YARN } qle_rope_kind;

typedef struct qle_rope {
  qle_rope_kind kind;
  double theta, factor;
  double low_freq_factor, high_freq_factor; /* llama3 */
  double beta_fast, beta_slow, attention_factor; /* yarn; attention_factor 0: derived */
  double mscale, mscale_all_dim;
  int truncate;
  size_t original_context;
} qle_rope;

/* How the checkpoint's linear layers are stored. */
typedef struct qle_quant {
  ql_format format; /* QL_FORMAT_NONE: floating point */
  int32_t bits;
  size_t group; /* 0: whole row */
  int symmetric, act_order;
} qle_quant;

typedef struct qle_config {
  qle_arch arch;
  size_t hidden, ffn, layers, heads, kv_heads, head_dim, vocab, context;
  float rms_eps;
  qle_rope rope;
  size_t window;         /* sliding window, 0: none */
  size_t window_from;    /* first layer that uses it (Qwen: max_window_layers) */
  int attention_bias, output_bias, mlp_bias, qk_norm, tied;
  int32_t eos[8];
  size_t eos_count;
  int32_t bos; /* -1: none */
  qle_quant quant;
} qle_config;

/* Reads the configuration of a model directory. Impossible values are an error that names file,
 * key and value. */
ql_status qle_config_read(const char *dir, qle_config *config, ql_error *error);


#endif
