/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLE_ROPE_H
#define QLE_ROPE_H

#include "config.h"

/* Rotation angles of a model: frequencies and, for the positions used so far, cosines and sines.
 * Steps are in f32 where transformers takes them in f32, so that angles agree at long contexts. */
typedef struct qle_rope_table {
  size_t half;     /* head_dim / 2 frequencies */
  size_t capacity; /* positions in the tables */
  float scale;     /* factor of cosines and sines (yarn) */
  float *inv_freq; /* [half] */
  float *cosines;  /* [capacity, half] */
  float *sines;
} qle_rope_table;

ql_status qle_rope_init(qle_rope_table *table, const qle_rope *rope, size_t head_dim,
                        ql_error *error);
void qle_rope_free(qle_rope_table *table);

/* Fills the tables for positions below `positions`. */
ql_status qle_rope_reserve(qle_rope_table *table, size_t positions, ql_error *error);

#endif
