/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_IO_WRITER_H
#define QLI_IO_WRITER_H

#include "os.h"
#include "st_layout.h"

#include <quantlib/io.h>

typedef struct qli_out_shard {
  char name[QLI_ST_NAME_SIZE];
  int fd; /* -1: not open */
  qli_text header;
  uint64_t data_bytes;
} qli_out_shard;

enum qli_writer_state {
  QLI_WRITER_DECLARING,
  QLI_WRITER_WRITING,
  QLI_WRITER_DONE,
  QLI_WRITER_BROKEN
};

struct ql_writer {
  const ql_ctx *ctx;
  const qli_os *os;
  enum qli_writer_state state;
  ql_writer_config config;
  char *dir, *partial, *aside,
      *parent;            /* final name, while writing, an old one, directory of all */
  int dir_fd;             /* of partial */
  qli_st_tensor *tensors; /* names are copies; sorted by name once begun */
  size_t count, capacity;
  uint64_t bytes;
  unsigned char *put; /* [count] */
  qli_out_shard *shards;
  size_t shard_count;
};

/* ql_writer_create with another operating system under it; os must outlive the writer. */
ql_status qli_writer_create(const ql_ctx *ctx, const qli_os *os, const char *dir,
                            const ql_writer_config *config, ql_writer **out, ql_error *error);

/* An error of the operating system about a file of the partial directory. */
ql_status qli_writer_errno(const ql_writer *w, int code, const char *name, const char *what,
                           ql_error *error);

/* Creates partial/name, which must not exist. */
ql_status qli_writer_open(const ql_writer *w, const char *name, int *fd, ql_error *error);

/* Writes a small file whole and syncs it. */
ql_status qli_writer_small(const ql_writer *w, const char *name, const void *bytes, size_t size,
                           ql_error *error);

/* Writes data (checked, of the type and shape declared) to a file, contiguous. */
ql_status qli_write_tensor(const ql_writer *w, const qli_out_shard *shard, uint64_t offset,
                           const ql_tensor *data, ql_error *error);

/* Everything was written: sync, and put partial in the place of dir. */
ql_status qli_writer_publish(ql_writer *w, ql_error *error);

#endif
