/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_internal.h"

#include <stdlib.h>

void *qle_scratch_get(qle_scratch *scratch, qle_buf which, size_t rows, size_t cols, size_t size)
{
  size_t bytes;
  if (!qle_mul(rows, cols, &bytes) || !qle_mul(bytes, size, &bytes) || !qle_add(bytes, 63, &bytes))
    return NULL;
  bytes = bytes < 64 ? 64 : bytes & ~(size_t)63;
  if (bytes <= scratch->bytes[which])
    return scratch->data[which];
  void *data = aligned_alloc(64, bytes);
  if (data == NULL)
    return NULL;
  qle_pages_huge(data, bytes);
  free(scratch->data[which]);
  scratch->data[which] = data;
  scratch->bytes[which] = bytes;
  return data;
}

void qle_scratch_free(qle_scratch *scratch)
{
  if (scratch == NULL)
    return;
  for (size_t i = 0; i < QLE_BUFS; i++)
    free(scratch->data[i]);
  free(scratch);
}
