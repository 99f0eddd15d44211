/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLE_MODEL_H
#define QLE_MODEL_H

#include "config.h"

#include <quantlib/quantlib.h>

/* Decoder models on the public API. Names of tensors are those of Hugging Face. */

typedef enum { QLE_Q, QLE_K, QLE_V, QLE_O, QLE_GATE, QLE_UP, QLE_DOWN, QLE_LINEARS } qle_linear;

/* "self_attn.q_proj", ... */
const char *qle_linear_name(qle_linear which);

/* Name of the i-th tensor of a layer in the layout "hqq", after the layer's; NULL past the last. */
const char *qle_hqq_part(size_t i);

typedef struct qle_model qle_model;

typedef struct qle_model_options {
  int lazy;           /* 1: decoder blocks are not loaded until qle_block_load */
  ql_compute compute; /* of products with quantized weights, unless the checkpoint asks for 8-bit
                         activations; A8 takes a scale for each group of the weights */
  int32_t head_bits;  /* 4 to 8: the head is rounded to so many bits, one scale for each 128
                         columns; 0: it stays as it is stored. A stored quantized one stays so */
  int join; /* 1, to run only: linears with the same input become one product where that is
               possible. Linears of such a model cannot be replaced, and their biases and
               activations cannot be set */
  const char *packed; /* file of qle_model_save_packed to map the weights from, NULL: pack them.
                         Where it does not fit they are packed too: qle_model_packed_note */
} qle_model_options;

/* Opens a model directory: float or quantized safetensors. Every tensor that the configuration
 * implies must be there in the right shape and type, and none that it does not explain. Weights
 * that are loaded are checked for NaN and Inf. A model is mutable (it owns the scratch memory of
 * its calls): one owner. The context must outlive it. */
ql_status qle_model_open(const ql_ctx *ctx, const char *dir, const qle_model_options *options,
                         qle_model **out, ql_error *error);
void qle_model_close(qle_model *model);

/* Why the file of packed weights is not used, in one line; NULL where it is, or none was given. */
const char *qle_model_packed_note(const qle_model *model);

/* Writes the packed weights of a model that is loaded whole: ql_packed_save. */
ql_status qle_model_save_packed(const qle_model *model, const char *path, ql_error *error);

const qle_config *qle_model_config(const qle_model *model);
const ql_file *qle_model_file(const qle_model *model);
const ql_ctx *qle_model_ctx(const qle_model *model);

/* Loads one decoder block, or frees its memory. */
ql_status qle_block_load(qle_model *model, size_t layer, ql_error *error);
void qle_block_unload(qle_model *model, size_t layer);

/* Puts other weights in the place of a linear of a loaded block, which then owns them. The bias
 * stays. */
void qle_block_replace(qle_model *model, size_t layer, qle_linear which, ql_packed *packed);

/* The vectors of a block. */
typedef enum {
  QLE_INPUT_NORM, /* [hidden] */
  QLE_POST_NORM,  /* [hidden] */
  QLE_Q_NORM,     /* [head_dim], where the family has it */
  QLE_K_NORM,
  QLE_VECTORS
} qle_vector;

/* Name of the tensor and its view in the file; QL_STATUS_NOT_FOUND where the family has none. */
ql_status qle_block_vector(const qle_model *model, size_t layer, qle_vector which, char *name,
                           size_t size, ql_tensor *view, ql_error *error);

/* Puts other values in the place of a vector of a loaded block, or of the bias of a linear that has
 * one: a vector is copied, the bias is a view that must live as long as the block is loaded. */
ql_status qle_block_set_vector(qle_model *model, size_t layer, qle_vector which,
                               const ql_tensor *value, ql_error *error);
void qle_block_set_bias(qle_model *model, size_t layer, qle_linear which, const ql_tensor *bias);

/* How a linear of a loaded block takes its input: as 8-bit codes, NULL: in floating point. */
void qle_block_set_act(qle_model *model, size_t layer, qle_linear which, const ql_act_config *act);

/* A view of the stored float weights [out, in] of a linear, and its bias (data NULL if none). A
 * quantized layer has none: QL_STATUS_UNSUPPORTED. Either output may be NULL. */
ql_status qle_block_weight(const qle_model *model, size_t layer, qle_linear which,
                           ql_tensor *weight, ql_tensor *bias, ql_error *error);

/* The tokens of one step: for each of `sequences` sequences `lengths[i]` new tokens, whose keys and
 * values go to caches[i]. Rows of activations are the sequences one after the other. */
typedef struct qle_batch {
  size_t sequences;
  const size_t *lengths;
  ql_kv *const *caches;
} qle_batch;

/* Makes a cache that fits the model. */
ql_status qle_model_cache(const qle_model *model, size_t capacity, ql_kv **out, ql_error *error);

/* x [rows, hidden] f32 = embedding of tokens. A token outside of the vocabulary is an error. */
ql_status qle_model_embed(const qle_model *model, const int32_t *tokens, size_t count, float *x,
                          ql_error *error);

/* Where calibration looks at a block: the inputs of its linears. */
typedef enum {
  QLE_INPUT_QKV,  /* [rows, hidden], of q, k and v */
  QLE_INPUT_O,    /* [rows, heads * head_dim] */
  QLE_INPUT_MLP,  /* [rows, hidden], of gate and up */
  QLE_INPUT_DOWN, /* [rows, ffn] */
  QLE_INPUTS
} qle_input;

/* Sees the input of linears of a block before they use it; anything but QL_STATUS_OK ends the pass.
 * Long inputs go through a block in pieces of some hundred rows, so an observer is called several
 * times, with the rows in their order. */
typedef ql_status (*qle_observer)(void *user, qle_input point, const ql_tensor *x, ql_error *error);

/* The attention half of a block (x += o(attention(norm(x)))) or the feed-forward half, in place on
 * x [rows, hidden]. Calls observe (if not NULL) at the inputs of its linears. With stop_at >= 0 the
 * pass ends after observing that input and x is not changed. The attention half appends to the
 * caches at this layer: the caller truncates them before running the same tokens again. */
ql_status qle_block_attention(qle_model *model, size_t layer, const qle_batch *batch, float *x,
                              int stop_at, qle_observer observe, void *user, ql_error *error);
ql_status qle_block_mlp(qle_model *model, size_t layer, size_t rows, float *x, int stop_at,
                        qle_observer observe, void *user, ql_error *error);

/* mass [rows]: the attention that each new token receives from the new tokens of its sequence (see
 * ql_kv_mass), from caches that are empty at this layer. x is not changed. */
ql_status qle_block_mass(qle_model *model, size_t layer, const qle_batch *batch, float *x,
                         double *mass, ql_error *error);

/* logits [count, vocab] f32 of chosen rows of x [rows, hidden]: final norm and head. chosen NULL:
 * the first count rows. */
ql_status qle_model_head(const qle_model *model, const float *x, const size_t *chosen, size_t count,
                         float *logits, ql_error *error);

/* All of it: tokens of a batch to logits, of the last token of each sequence only ([sequences,
 * vocab]) when last_only is set, else of all ([rows, vocab]). When it fails the caches are as they
 * were. */
ql_status qle_model_forward(qle_model *model, const qle_batch *batch, const int32_t *tokens,
                            int last_only, float *logits, ql_error *error);

#endif
