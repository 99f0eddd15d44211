/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_IO_FS_DIR_H
#define QLI_IO_FS_DIR_H

#include <quantlib/status.h>

#include <stdbool.h>

/* Whether a checkpoint may be put at path. *replace: there is an old one, and overwrite allows to
 * remove it. Only a directory that looks like a checkpoint and has no directories in it is ever
 * removed: a slip of the keyboard must not cost a home directory. */
ql_status qli_dir_check_target(const char *path, bool overwrite, bool *replace, ql_error *error);

/* Removes a directory and the files in it. 0 or an errno; directories in it make it fail. */
int qli_dir_remove(const char *path);

#endif
