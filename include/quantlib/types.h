/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QUANTLIB_TYPES_H
#define QUANTLIB_TYPES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define QL_BEGIN_DECLS extern "C" {
#define QL_END_DECLS }
#else
#define QL_BEGIN_DECLS
#define QL_END_DECLS
#endif

#if defined(__GNUC__)
#define QL_API __attribute__((visibility("default")))
#else
#define QL_API
#endif

QL_BEGIN_DECLS

/** Element type of a tensor. Values are pinned: they may be stored.
 *  Types below a byte are packed with the low bits first, each row starting at a byte.
 *  @since 0.1 */
typedef int32_t ql_dtype;
enum {
  QL_DTYPE_NONE = 0,
  QL_DTYPE_F32 = 1,
  QL_DTYPE_F16 = 2,
  QL_DTYPE_BF16 = 3,
  QL_DTYPE_F64 = 4,
  QL_DTYPE_I8 = 16,
  QL_DTYPE_U8 = 17,
  QL_DTYPE_I16 = 18,
  QL_DTYPE_U16 = 19,
  QL_DTYPE_I32 = 20,
  QL_DTYPE_U32 = 21,
  QL_DTYPE_I64 = 22,
  QL_DTYPE_U64 = 23,
  QL_DTYPE_BOOL = 24,
  QL_DTYPE_C64 = 25,
  QL_DTYPE_I4 = 32,
  QL_DTYPE_U4 = 33,
  QL_DTYPE_U2 = 34,
  QL_DTYPE_F8_E4M3 = 48,
  QL_DTYPE_F8_E5M2 = 49,
  QL_DTYPE_F8_E8M0 = 50,
  QL_DTYPE_F8_E4M3FNUZ = 51,
  QL_DTYPE_F8_E5M2FNUZ = 52,
  QL_DTYPE_F6_E2M3 = 53,
  QL_DTYPE_F6_E3M2 = 54,
  QL_DTYPE_F4 = 55
};

/** Bits of one element, 0 for an unknown type. Thread-safe. @since 0.1 */
QL_API uint32_t ql_dtype_bits(ql_dtype dtype);

/** Name as safetensors writes it ("F32", "BF16", ...), "?" for an unknown type.
 *  Static storage. Thread-safe. @since 0.1 */
QL_API const char *ql_dtype_name(ql_dtype dtype);

/** The type with that safetensors name, QL_DTYPE_NONE when there is none. Thread-safe.
 *  @since 0.1 */
QL_API ql_dtype ql_dtype_from_name(const char *name);

/** Largest number of axes of a tensor. @since 0.1 */
#define QL_MAX_RANK 8

QL_END_DECLS

#endif
