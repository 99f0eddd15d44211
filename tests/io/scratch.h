/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_IO_SCRATCH_H
#define TESTS_IO_SCRATCH_H

#include <stddef.h>
#include <stdint.h>

/* A directory of this process under $TMPDIR, else in memory; scratch_remove deletes it and all that
 * is in it. */
const char *scratch_dir(void);
void scratch_remove(void);

/* Path of name in the directory; one of eight buffers that are used in turn. */
const char *scratch_path(const char *name);

/* Deletes a file or a tree, if it is there. */
void remove_tree(const char *path);

void write_bytes(const char *path, const void *bytes, size_t size);

/* The whole file and a NUL; free() it. NULL when there is none. */
unsigned char *read_bytes(const char *path, size_t *size);

/* A safetensors file: the length (that of header unless length is given), header, data_bytes bytes
 * 0, 1, 2, ... */
void write_st(const char *path, const char *header, size_t data_bytes);
void write_st_length(const char *path, uint64_t length, const char *header, size_t header_bytes,
                     size_t data_bytes);

/* Number of entries of a directory, -1 when there is none. */
int count_entries(const char *path);

#endif
