/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tiles.h"

#include "checked.h"
#include "error.h"
#include "tensor_rows.h"

/* Tiles per worker between two calls of the progress callback. */
enum { TILES_PER_STEP = 4 };

typedef struct {
  qli_tile_task task;
  void *arg;
  qli_tile_result *results;
  size_t first;
} step;

static void run_tile(void *arg, size_t index, size_t worker)
{
  const step *s = arg;
  (void)worker;
  s->task(s->arg, s->first + index, &s->results[s->first + index]);
}

static ql_status first_failure(const qli_tile_result *results, size_t count,
                               qli_tile_result *failed, ql_error *error)
{
  for (size_t i = 0; i < count; i++)
    if (results[i].status != QL_STATUS_OK) {
      *failed = results[i];
      if (failed->status == QL_STATUS_NO_MEMORY)
        qli_fail(error, QL_STATUS_NO_MEMORY, "no memory for a tile of weights");
      return failed->status;
    }
  return QL_STATUS_OK;
}

ql_status qli_tiles_run(const ql_ctx *ctx, const char *phase, size_t count, qli_tile_task task,
                        void *arg, qli_tile_result *failed, ql_error *error)
{
  step s = {task, arg, qli_calloc(ctx, count, sizeof(qli_tile_result)), 0};
  ql_status status = QL_STATUS_OK;
  *failed = (qli_tile_result){QL_STATUS_OK, -1, -1};
  if (s.results == NULL)
    return qli_fail(error, QL_STATUS_NO_MEMORY, "no memory for %zu tiles", count);
  const size_t batch = ql_ctx_workers(ctx) * TILES_PER_STEP;
  while (s.first < count) {
    const size_t n = qli_min_size(batch, count - s.first);
    QLI_CHECK(qli_progress(ctx, phase, s.first, count, error));
    qli_parallel_for(ctx, n, run_tile, &s);
    s.first += n;
    QLI_CHECK(first_failure(s.results, s.first, failed, error));
  }
  status = qli_progress(ctx, phase, count, count, error);
done:
  qli_free(ctx, s.results);
  return status;
}

ql_status qli_check_weight_type(const ql_tensor *w, ql_error *error)
{
  QLI_TRY(ql_tensor_check(w, error));
  if (w->rank != 2)
    return qli_fail(error, QL_STATUS_SHAPE, "the weights have rank %d, not 2", (int)w->rank);
  if (w->dtype != QL_DTYPE_F32 && w->dtype != QL_DTYPE_F16 && w->dtype != QL_DTYPE_BF16)
    return qli_fail(error, QL_STATUS_DTYPE, "weights of type %s: F32, F16 and BF16 are known",
                    ql_dtype_name(w->dtype));
  return QL_STATUS_OK;
}

ql_status qli_check_weights(const ql_ctx *ctx, const ql_tensor *w, ql_error *error)
{
  QLI_TRY(qli_check_weight_type(w, error));
  return ql_tensor_check_finite(ctx, w, error);
}

void qli_weight_row(const ql_tensor *w, size_t r, double *dst)
{
  enum { CHUNK = 256 };
  float buffer[CHUNK];
  const unsigned char *row = (const unsigned char *)w->data + (ptrdiff_t)r * w->stride[0];
  for (size_t c = 0; c < w->shape[1]; c += CHUNK) {
    const size_t n = qli_min_size(CHUNK, w->shape[1] - c);
    qli_row_to_f32(w->dtype, row + (ptrdiff_t)c * w->stride[1], w->stride[1], n, buffer);
    for (size_t i = 0; i < n; i++)
      dst[c + i] = (double)buffer[i];
  }
}
