/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLE_MODEL_INTERNAL_H
#define QLE_MODEL_INTERNAL_H

#include "model.h"
#include "rope.h"
#include "util.h"

/* A linear layer as the configuration describes it. */
typedef struct qle_linear_spec {
  char name[96]; /* full name without ".weight" */
  size_t n, k;   /* outputs, inputs */
  int bias;
} qle_linear_spec;

/* What the file holds of it. */
typedef struct qle_linear_source {
  int quantized;
  qle_quant quant;
  ql_tensor weight;                     /* floating point */
  ql_tensor parts[QL_FORMAT_MAX_PARTS]; /* quantized: qweight, qzeros, scales, g_idx, or those of
                                           int-quantized */
  const char *part_names[QL_FORMAT_MAX_PARTS];
  size_t part_count;
  ql_tensor bias; /* data NULL: none */
  int a8;         /* the product is in integers, of activations like this: */
  ql_act_config act;
} qle_linear_source;

/* A linear layer ready to run. The bias is a view of the file. */
typedef struct qle_weights {
  ql_packed *packed;
  ql_tensor bias;
  int a8; /* the checkpoint asks for 8-bit activations like this: */
  ql_act_config act;
  int codes; /* integer products take them: the model's compute mode is for these */
} qle_weights;

/* Linears with the same input, whose rows one product can take together. */
typedef enum { QLE_JOIN_QKV, QLE_JOIN_GATE_UP, QLE_JOINS } qle_join;

typedef struct qle_block {
  int loaded;
  qle_weights linears[QLE_LINEARS]; /* packed NULL: it is in one of these: */
  qle_weights joined[QLE_JOINS];    /* packed NULL: not joined */
  float *input_norm, *post_norm;    /* [hidden] */
  float *q_norm, *k_norm;           /* [head_dim] or NULL */
} qle_block;

/* Buffers that live from call to call, so that a token costs no allocation. */
typedef enum {
  QLE_BUF_X,    /* hidden states of a forward pass */
  QLE_BUF_NORM, /* normalized hidden states */
  QLE_BUF_Q,
  QLE_BUF_K,
  QLE_BUF_V,
  QLE_BUF_ATT, /* output of attention */
  QLE_BUF_GATE,
  QLE_BUF_UP,
  QLE_BUF_OUT, /* output of o and down */
  QLE_BUF_COS,
  QLE_BUF_SIN,
  QLE_BUF_WORK,   /* workspace of products */
  QLE_BUF_BATCH,  /* lists of a cut batch */
  QLE_BUF_BEFORE, /* lengths of caches before a pass */
  QLE_BUF_RUNS,   /* sequences of a piece */
  QLE_BUFS
} qle_buf;

typedef struct qle_scratch {
  void *data[QLE_BUFS];
  size_t bytes[QLE_BUFS];
} qle_scratch;

struct qle_model {
  const ql_ctx *ctx;
  ql_ctx *serial; /* same kernels, no threads: for calls inside of parallel tasks */
  qle_config config;
  ql_file *file;
  ql_compute compute;
  int join;
  ql_tensor embedding; /* [vocab, hidden], a view of the file */
  float *final_norm;   /* [hidden] */
  qle_weights head;
  qle_block *blocks; /* [layers] */
  qle_rope_table rope;
  qle_scratch *scratch;
  ql_packed_file *packs; /* weights that were packed before, or NULL */
  char packed_note[420]; /* why not */
  char *dir;
};

/* Rows that go through a block at once; longer inputs are cut. Fixed, so that results do not depend
 * on how much memory or how many threads there are. */
#define QLE_CHUNK ((size_t)512)

/* A buffer of at least rows * cols * size bytes, 64-aligned; its former content is lost when it has
 * to grow. NULL without memory. */
void *qle_scratch_get(qle_scratch *scratch, qle_buf which, size_t rows, size_t cols, size_t size);
void qle_scratch_free(qle_scratch *scratch);

/* weights.c. `seen` (may be NULL) has a flag for each tensor of the file. */
void qle_block_spec(const qle_config *config, size_t layer, qle_linear which,
                    qle_linear_spec *spec);
ql_status qle_linear_find(const qle_model *model, const qle_linear_spec *spec,
                          qle_linear_source *source, unsigned char *seen, ql_error *error);

/* Maps the file of packed weights; where it does not fit, packed_note says why. */
ql_status qle_packed_open(qle_model *model, const char *path, ql_error *error);

/* The weights of that name from it; *out is NULL where there are none. */
ql_status qle_packed_find(const qle_model *model, const char *name, ql_packed **out,
                          ql_error *error);

/* Packed weights must be of the size that the configuration describes. */
ql_status qle_check_packed(const qle_linear_spec *spec, const ql_packed *packed, ql_error *error);

#define QLE_HEAD_NAME "lm_head"

ql_status qle_linear_load(const qle_model *model, const qle_linear_spec *spec, qle_weights *out,
                          ql_error *error);

/* weights_join.c: the linears of a join as one matrix; out->packed stays NULL where they are in
 * floating point, or differ in their grid or in more than that. The bits of a product are those of
 * the linears one by one. */
ql_status qle_join_load(const qle_model *model, size_t layer, qle_join join, qle_weights *out,
                        ql_error *error);
/* Its name in a file of packed weights, and its size. */
void qle_join_spec(const qle_config *config, size_t layer, qle_join join, qle_linear_spec *spec);
int qle_join_has(qle_join join, qle_linear which);

/* Whether products in integers take these weights. */
int qle_serves_integers(const ql_ctx *ctx, const ql_packed *packed);

/* The head in `bits` bits, from its floats: weights_head_round.c, or weights_head_refuse.c. */
ql_status qle_head_round(qle_model *model, const ql_tensor *weight, int32_t bits, ql_error *error);

/* weights_head.c: the head, from lm_head.weight or the embedding. */
ql_status qle_head_load(qle_model *model, int32_t bits, ql_error *error);
qle_linear_spec qle_head_spec(const qle_config *config);

/* The stored quantized matrix, for looking at; NULL when the linear is in floating point. Owned by
 * the caller: ql_qmat_destroy. */
ql_status qle_linear_decode(const qle_model *model, const qle_linear_spec *spec, ql_qmat **out,
                            ql_error *error);

/* weights_hqq.c: the parts of a layer of the HQQ program. */
ql_status qle_hqq_find(const qle_model *model, const qle_linear_spec *spec,
                       qle_linear_source *source, unsigned char *seen, ql_error *error);

/* weights_int8.c: the parts of a layer of compressed-tensors, int-quantized. */
ql_status qle_int8_find(const qle_model *model, const qle_linear_spec *spec,
                        qle_linear_source *source, unsigned char *seen, ql_error *error);

/* A floating-point tensor of that name and shape (rank 1: cols 0). */
ql_status qle_float_find(const qle_model *model, const char *name, size_t rows, size_t cols,
                         ql_tensor *out, unsigned char *seen, ql_error *error);

/* NaN or Inf in a tensor of the file. */
ql_status qle_check_finite(const qle_model *model, const char *name, const ql_tensor *tensor,
                           ql_error *error);

/* The same as f32 of our own, after a check for NaN and Inf. */
ql_status qle_vector_load(const qle_model *model, const char *name, size_t count, float **out,
                          ql_error *error);

/* y [rows, n] = x [rows, k] W^T + bias. */
ql_status qle_linear_apply(const qle_model *model, const qle_weights *w, const float *x, float *y,
                           size_t rows, size_t k, size_t n, ql_error *error);

/* Contiguous f32 [rows, cols] view. The data is not written where the call does not say so. */
ql_tensor qle_view(const float *data, size_t rows, size_t cols);

#endif
