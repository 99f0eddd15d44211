/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_IO_FILE_H
#define QLI_IO_FILE_H

#include "os.h"

#include <quantlib/io.h>

/* ql_file_open with another operating system under it; os must outlive the file. */
ql_status qli_file_open(const ql_ctx *ctx, const qli_os *os, const char *path, ql_file **out,
                        ql_error *error);

#endif
