/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "linalg.h"

#include "error.h"

#include <lapacke.h>
#include <math.h>
#include <string.h>

/* h <- J h J with the exchange matrix J: element (i, j) changes places with (n-1-i, n-1-j). */
static void exchange(size_t n, double *h, size_t ld)
{
  for (size_t i = 0; i < n; i++) {
    double *row = h + i * ld, *other = h + (n - 1 - i) * ld;
    const size_t end = i < n - 1 - i ? n : i == n - 1 - i ? n / 2 : 0;
    for (size_t j = 0; j < end; j++) {
      const double kept = row[j];
      row[j] = other[n - 1 - j];
      other[n - 1 - j] = kept;
    }
  }
}

static size_t bad_diagonal(size_t n, const double *h, size_t ld)
{
  for (size_t i = n; i-- > 0;)
    if (!(h[i * ld + i] > 0) || !isfinite(h[i * ld + i]))
      return i;
  return n;
}

/* With J H J = L L^T, R = J L J. The lower triangle by rows is the upper one by columns, so that
 * LAPACK works in place. */
ql_status qli_chol_reverse_lapack(const ql_ctx *ctx, size_t n, double *h, size_t ld, size_t *pivot,
                                  ql_error *error)
{
  (void)ctx;
  if (n > INT32_MAX || ld > INT32_MAX)
    return qli_fail(error, QL_STATUS_OVERFLOW, "LAPACK cannot factor a matrix of %zu", n);
  lapack_int info = 0;
  exchange(n, h, ld);
  if (n > 0)
    info = LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, 'U', (lapack_int)n, h, (lapack_int)ld);
  exchange(n, h, ld);
  if (info < 0)
    return qli_fail(error, QL_STATUS_INTERNAL, "LAPACK refuses argument %d of dpotrf", (int)-info);
  const size_t failed = info > 0 ? n - (size_t)info : bad_diagonal(n, h, ld);
  if (pivot != NULL)
    *pivot = failed;
  if (failed != n) {
    qli_fail(error, QL_STATUS_NUMERIC, "the matrix is not positive definite: pivot %zu is %g",
             failed, h[failed * ld + failed]);
    qli_error_at(error, (int64_t)failed, (int64_t)failed);
    return QL_STATUS_NUMERIC;
  }
  for (size_t i = 1; i < n; i++)
    memset(h + i * ld, 0, i * sizeof *h);
  return QL_STATUS_OK;
}
