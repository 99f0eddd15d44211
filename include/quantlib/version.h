/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QUANTLIB_VERSION_H
#define QUANTLIB_VERSION_H

#include <quantlib/types.h>

/* The build reads the version, the soname and the .pc file from these three lines. */
#define QL_API_VERSION_MAJOR 0
#define QL_API_VERSION_MINOR 1
#define QL_API_VERSION_PATCH 0

QL_BEGIN_DECLS

/** Version of the library that is loaded, as major * 10000 + minor * 100 + patch.
 *  Compare it with QL_API_VERSION_* to learn what was compiled against. Thread-safe.
 *  @since 0.1 */
QL_API uint32_t ql_version(void);

/** The same as a string, e.g. "0.1.0". Static storage, never freed. Thread-safe.
 *  @since 0.1 */
QL_API const char *ql_version_str(void);

QL_END_DECLS

#endif
