/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_LINALG_LINALG_H
#define QLI_LINALG_LINALG_H

/* Dense linear algebra of our own, for what decides codes. Every element of a product is
 *     c = (...((c + a0 b0) + a1 b1) + ...) + a(k-1) b(k-1)
 * in that order, so that the bits depend neither on threads nor on how the work is cut into tiles.
 * In a reproducible context each term is a multiplication and an addition (the same bits on every
 * ISA); otherwise kernels may fuse the two. Matrices are row-major unless a view says otherwise;
 * ld counts elements. Callers run under qli_fpenv. */

#include "ctx.h"

/* Element (i, j) is at data[i * rs + j * cs]. */
typedef struct qli_view_f64 {
  const double *data;
  size_t rs, cs;
} qli_view_f64;

typedef struct qli_view_f32 {
  const float *data;
  size_t rs, cs;
} qli_view_f32;

typedef enum qli_sign { QLI_ADD = 0, QLI_SUBTRACT = 1 } qli_sign;

/* C[m,n] += A[m,k] B[k,n], or -=. C must not overlap A or B. Scratch: about 8 k' n bytes with
 * k' = min(k, 256). Fails with QL_STATUS_NO_MEMORY only, C untouched. */
ql_status qli_gemm_f64(const ql_ctx *ctx, qli_sign sign, size_t m, size_t n, size_t k,
                       qli_view_f64 a, qli_view_f64 b, double *c, size_t ldc, ql_error *error);
ql_status qli_gemm_f32(const ql_ctx *ctx, qli_sign sign, size_t m, size_t n, size_t k,
                       qli_view_f32 a, qli_view_f32 b, float *c, size_t ldc, ql_error *error);

/* C[m,n] += A B with A and B rounded to f32 first, sums of 256 products in f32 and these added to C
 * in f64: twice as fast as qli_gemm_f64, with an error of at most (256 + 2) 2^-24 sum |a b|. */
ql_status qli_gemm_narrow(const ql_ctx *ctx, qli_sign sign, size_t m, size_t n, size_t k,
                          qli_view_f64 a, qli_view_f64 b, double *c, size_t ldc, ql_error *error);

/* Reverse Cholesky, in place: reads the upper triangle of the symmetric h[n,n] and leaves the upper
 * triangular R with H = R R^T (zeros below the diagonal). QL_STATUS_NUMERIC when a pivot is not a
 * positive finite number; its index goes to *pivot (may be NULL) and to error->row, and h is then
 * destroyed: factor a fresh copy. Scratch: 16 * 384 * n bytes. */
ql_status qli_chol_reverse(const ql_ctx *ctx, size_t n, double *h, size_t ld, size_t *pivot,
                           ql_error *error);

/* The same without the zeros: below the diagonal only the blocks of QLK_PANEL rows and columns on
 * the diagonal are written, with nothing of use. narrow: products with columns that are not of the
 * same 384 are summed in f32 over 48 of them, then in f64; an element of R R^T then differs from
 * that of H by up to 50 * 2^-24 sqrt(H_ii H_jj) instead of n * 2^-53 of it. */
ql_status qli_chol_upper(const ql_ctx *ctx, size_t n, double *h, size_t ld, int narrow,
                         size_t *pivot, ql_error *error);

/* The same through LAPACKE_dpotrf. Bits depend on the BLAS in use and on its threads. */
ql_status qli_chol_reverse_lapack(const ql_ctx *ctx, size_t n, double *h, size_t ld, size_t *pivot,
                                  ql_error *error);

/* The `count` largest eigenvalues of the symmetric a[n,n] (its upper triangle by columns), in
 * descending order, and their vectors of length 1 as the rows of vectors[count,n]. The sign is
 * fixed; vectors of equal eigenvalues are any basis. a is destroyed. By LAPACKE_dsyevr: bits depend
 * on the BLAS in use. Scratch: 8 n (count + 27) bytes. */
ql_status qli_eigen_top(const ql_ctx *ctx, size_t n, double *a, size_t count, double *values,
                        double *vectors, ql_error *error);

/* inverse[n,n] = R^-1 for the upper triangular r[n,n] with non-zero diagonal; reads the upper
 * triangle only and writes zeros below the diagonal. On the caller's thread: for small n. */
void qli_tri_upper_inverse(size_t n, const double *r, size_t ldr, double *inverse, size_t ldi);

/* b[m,n] <- X with X R = B, R upper triangular with non-zero diagonal: B R^-1 by substitution, rows
 * in parallel. Scratch: 8 n (n + 96 * workers) bytes and rounding; for n up to a few hundred. */
ql_status qli_tri_upper_solve(const ql_ctx *ctx, size_t m, size_t n, const double *r, size_t ldr,
                              double *b, size_t ldb, ql_error *error);

/* b[m,n] <- B (R R^T)^-1 for the upper triangular R of qli_chol_reverse, of which only the upper
 * triangle is read. Scratch: 8 * 96 * (n + m) bytes and that of qli_gemm_f64. On failure b is
 * destroyed. */
ql_status qli_chol_solve(const ql_ctx *ctx, size_t m, size_t n, const double *r, size_t ldr,
                         double *b, size_t ldb, ql_error *error);

#endif
