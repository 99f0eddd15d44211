/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tables.h"

#include "error.h"

#include <string.h>

/* Quantiles of a normal distribution, eight for the positive side and seven for the negative one,
 * with 0 between them and scaled to 1; the f32 values that QLoRA's program published are the
 * format. (They differ from the formula with exact quantiles by up to 1.1e-7.) */
static const float nf4[16] = {-1.0f,           -0x1.647362p-1f, -0x1.0cd66p-1f,  -0x1.946540p-2f,
                              -0x1.23449ap-2f, -0x1.7a6a7ep-3f, -0x1.74f0e2p-4f, 0.0f,
                              0x1.45f5fep-4f,  0x1.4995c6p-3f,  0x1.f809bap-3f,  0x1.5a0674p-2f,
                              0x1.c34970p-2f,  0x1.200f56p-1f,  0x1.722766p-1f,  1.0f};

/* 0, 1/16, 8, 12, 4, 6, 2 and 3 twelfths. */
static const float fp4[16] = {0.0f,
                              0x1.555556p-8f,
                              0x1.555556p-1f,
                              1.0f,
                              0x1.555556p-2f,
                              0.5f,
                              0x1.555556p-3f,
                              0.25f,
                              -0.0f,
                              -0x1.555556p-8f,
                              -0x1.555556p-1f,
                              -1.0f,
                              -0x1.555556p-2f,
                              -0.5f,
                              -0x1.555556p-3f,
                              -0.25f};

static const float e2m1[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                               -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

static const float iq4_nl[16] = {-127.0f, -104.0f, -83.0f, -65.0f, -49.0f, -35.0f, -22.0f, -10.0f,
                                 1.0f,    13.0f,   25.0f,  38.0f,  53.0f,  69.0f,  89.0f,  113.0f};

typedef struct {
  ql_table id;
  qli_ties ties;
  const char *name, *source;
  const float *levels;
} table_row;

enum { BITS = 4 };

static const table_row rows[] = {
    {QL_TABLE_NF4, QLI_TIES_LOWER, "nf4",
     "QLoRA (Dettmers et al. 2023, arXiv 2305.14314), as bitsandbytes stores it", nf4},
    {QL_TABLE_FP4, QLI_TIES_ZERO, "fp4", "bitsandbytes' FP4", fp4},
    {QL_TABLE_E2M1, QLI_TIES_EVEN, "e2m1",
     "OCP Microscaling Formats (MX) Specification 1.0, FP4 (E2M1)", e2m1},
    {QL_TABLE_IQ4_NL, QLI_TIES_UPPER, "iq4_nl", "ggml's IQ4_NL", iq4_nl},
};

enum { ROWS = sizeof rows / sizeof rows[0] };

static const table_row *row_of(ql_table id)
{
  for (size_t i = 0; i < ROWS; i++)
    if (rows[i].id == id)
      return &rows[i];
  return NULL;
}

const float *qli_table_levels(ql_table id, int32_t *bits, qli_ties *ties)
{
  const table_row *row = row_of(id);
  if (row == NULL)
    return NULL;
  if (bits != NULL)
    *bits = BITS;
  if (ties != NULL)
    *ties = row->ties;
  return row->levels;
}

ql_status ql_table_get(ql_table id, ql_table_info *info)
{
  if (info == NULL || info->struct_size < sizeof *info)
    return QL_STATUS_INVALID_ARGUMENT;
  const table_row *row = row_of(id);
  if (row == NULL)
    return QL_STATUS_NOT_FOUND;
  *info = (ql_table_info){info->struct_size, row->id, BITS, row->name, row->source, row->levels};
  return QL_STATUS_OK;
}

ql_status ql_table_find(const char *name, ql_table *id, ql_error *error)
{
  if (name == NULL || id == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "name or id is NULL");
  for (size_t i = 0; i < ROWS; i++)
    if (strcmp(rows[i].name, name) == 0) {
      *id = rows[i].id;
      return QL_STATUS_OK;
    }
  return qli_fail(error, QL_STATUS_NOT_FOUND, "no table is named %s: there are %s, %s, %s and %s",
                  name, rows[0].name, rows[1].name, rows[2].name, rows[3].name);
}
