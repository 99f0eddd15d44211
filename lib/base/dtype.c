/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include <quantlib/types.h>

#include <string.h>

typedef struct {
  ql_dtype dtype;
  uint32_t bits;
  const char *name;
} dtype_row;

/* Names are those of safetensors; types that it does not know have names of their own. */
static const dtype_row dtypes[] = {
    {QL_DTYPE_F32, 32, "F32"},
    {QL_DTYPE_F16, 16, "F16"},
    {QL_DTYPE_BF16, 16, "BF16"},
    {QL_DTYPE_F64, 64, "F64"},
    {QL_DTYPE_I8, 8, "I8"},
    {QL_DTYPE_U8, 8, "U8"},
    {QL_DTYPE_I16, 16, "I16"},
    {QL_DTYPE_U16, 16, "U16"},
    {QL_DTYPE_I32, 32, "I32"},
    {QL_DTYPE_U32, 32, "U32"},
    {QL_DTYPE_I64, 64, "I64"},
    {QL_DTYPE_U64, 64, "U64"},
    {QL_DTYPE_BOOL, 8, "BOOL"},
    {QL_DTYPE_C64, 64, "C64"},
    {QL_DTYPE_I4, 4, "I4"},
    {QL_DTYPE_U4, 4, "U4"},
    {QL_DTYPE_U2, 2, "U2"},
    {QL_DTYPE_F8_E4M3, 8, "F8_E4M3"},
    {QL_DTYPE_F8_E5M2, 8, "F8_E5M2"},
    {QL_DTYPE_F8_E8M0, 8, "F8_E8M0"},
    {QL_DTYPE_F8_E4M3FNUZ, 8, "F8_E4M3FNUZ"},
    {QL_DTYPE_F8_E5M2FNUZ, 8, "F8_E5M2FNUZ"},
    {QL_DTYPE_F6_E2M3, 6, "F6_E2M3"},
    {QL_DTYPE_F6_E3M2, 6, "F6_E3M2"},
    {QL_DTYPE_F4, 4, "F4"},
};

enum { DTYPE_COUNT = sizeof dtypes / sizeof dtypes[0] };

static const dtype_row *find(ql_dtype dtype)
{
  for (size_t i = 0; i < DTYPE_COUNT; i++)
    if (dtypes[i].dtype == dtype)
      return &dtypes[i];
  return NULL;
}

uint32_t ql_dtype_bits(ql_dtype dtype)
{
  const dtype_row *row = find(dtype);
  return row ? row->bits : 0;
}

const char *ql_dtype_name(ql_dtype dtype)
{
  const dtype_row *row = find(dtype);
  return row ? row->name : "?";
}

ql_dtype ql_dtype_from_name(const char *name)
{
  for (size_t i = 0; name != NULL && i < DTYPE_COUNT; i++)
    if (strcmp(dtypes[i].name, name) == 0)
      return dtypes[i].dtype;
  return QL_DTYPE_NONE;
}
