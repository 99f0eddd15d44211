/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QUANTLIB_IO_H
#define QUANTLIB_IO_H

#include <quantlib/context.h>
#include <quantlib/tensor.h>

QL_BEGIN_DECLS

/** An open checkpoint: one safetensors file, or a directory with model.safetensors or with shards
 *  and model.safetensors.index.json. Mapped read-only; every rule of the format was checked when it
 *  was opened. Immutable; may be shared by threads. @since 0.1 */
typedef struct ql_file ql_file;

/** Opens path, a file or a directory. Owned by the caller: ql_file_close. @since 0.1 */
QL_API ql_status ql_file_open(const ql_ctx *ctx, const char *path, ql_file **out, ql_error *error);
QL_API void ql_file_close(ql_file *file);

/** One tensor of a checkpoint. Strings live as long as the file. @since 0.1 */
typedef struct ql_file_info {
  size_t struct_size;
  const char *name;
  const char *path;   /**< file that holds it */
  ql_dtype dtype;
  int32_t rank;
  size_t shape[QL_MAX_RANK];
  uint64_t offset;    /**< of the data in that file */
  uint64_t bytes;
} ql_file_info;

/** Number of tensors. They are sorted by name. @since 0.1 */
QL_API size_t ql_file_count(const ql_file *file);
QL_API ql_status ql_file_info_at(const ql_file *file, size_t i, ql_file_info *info);

/** Index of the tensor with that name, or QL_STATUS_NOT_FOUND with an error that names file and
 *  tensor. @since 0.1 */
QL_API ql_status ql_file_find(const ql_file *file, const char *name, size_t *index,
                              ql_error *error);

/** A view of the i-th tensor in the mapping: valid while the file is open, never written through.
 *  Data need not be aligned to its type; library calls accept that. @since 0.1 */
QL_API ql_status ql_file_tensor(const ql_file *file, size_t i, ql_tensor *out, ql_error *error);

/** Tells the system that the pages of the i-th tensor are not needed soon. @since 0.1 */
QL_API void ql_file_release(const ql_file *file, size_t i);

/** Value of a key of the files' __metadata__, NULL when there is none. @since 0.1 */
QL_API const char *ql_file_metadata(const ql_file *file, const char *key);

/** Writes a checkpoint directory: declare all tensors, begin, put each, finish. Nothing is visible
 *  under the final name before finish; abandoning a writer removes what it wrote. One owner.
 *  @since 0.1 */
typedef struct ql_writer ql_writer;

/** @since 0.1 */
typedef struct ql_writer_config {
  size_t struct_size;
  uint64_t shard_bytes; /**< start a new shard beyond this many bytes of tensors; 0: one file */
  int32_t overwrite;    /**< 1: replace an existing checkpoint when finishing. A directory that
                             holds directories, or neither config.json nor safetensors, is
                             refused */
  int32_t reserved;
} ql_writer_config;

#define QL_WRITER_CONFIG_INIT {sizeof(ql_writer_config), 5000000000u, 0, 0}

/** Starts a new directory; its parent must exist. An existing one is QL_STATUS_EXISTS unless
 *  overwrite is set or it is empty. The data goes to a temporary sibling ("<dir>.partial-<pid>",
 *  with a number behind it when that name is taken) until finish. @since 0.1 */
QL_API ql_status ql_writer_create(const ql_ctx *ctx, const char *dir,
                                  const ql_writer_config *config, ql_writer **out,
                                  ql_error *error);

/** Abandons an unfinished writer (its temporary directory is removed), or frees a finished one.
 *  NULL is fine. @since 0.1 */
QL_API void ql_writer_destroy(ql_writer *writer);

/** Path of the temporary directory, e.g. for a signal handler that must clean up. Lives as long as
 *  the writer. @since 0.1 */
QL_API const char *ql_writer_partial_dir(const ql_writer *writer);

/** Declares a tensor; order does not matter. Only before ql_writer_begin. @since 0.1 */
QL_API ql_status ql_writer_declare(ql_writer *writer, const char *name, ql_dtype dtype,
                                   int32_t rank, const size_t *shape, ql_error *error);

/** Fixes shards and offsets, checks free space, sets it aside and writes the headers. Shards are
 *  filled in the order of names; tensors lie in each as the reference writer puts them: widest type
 *  first, then by name. May be called again after a failure. @since 0.1 */
QL_API ql_status ql_writer_begin(ql_writer *writer, ql_error *error);

/** Writes the data of a declared tensor (same type and shape; made contiguous), once each, in any
 *  order. May be called again after a failure. @since 0.1 */
QL_API ql_status ql_writer_put(ql_writer *writer, const char *name, const ql_tensor *data,
                               ql_error *error);

/** Adds a small file (config.json, tokenizer.json, ...); name is a plain file name. @since 0.1 */
QL_API ql_status ql_writer_put_file(ql_writer *writer, const char *name, const void *bytes,
                                    size_t size, ql_error *error);

/** Sum of the bytes of all declared tensors. @since 0.1 */
QL_API uint64_t ql_writer_bytes(const ql_writer *writer);

/** Writes the index, syncs everything to disk and renames the directory to its final name. Fails if
 *  a declared tensor was never put. After another failure nothing is under the final name but what
 *  was there before, and the writer can only be destroyed. @since 0.1 */
QL_API ql_status ql_writer_finish(ql_writer *writer, ql_error *error);

QL_END_DECLS

#endif
