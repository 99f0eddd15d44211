/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_IO_OS_H
#define QLI_IO_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

/* Every call to the operating system that reading and writing checkpoints makes and that can fail
 * in the field. A table, so that tests can let any one of them fail. All set errno. */
typedef struct qli_os {
  int (*open_at)(int dir, const char *path, int flags, unsigned mode);
  int (*close)(int fd);
  int (*fstat)(int fd, struct stat *st);
  ssize_t (*pread)(int fd, void *buffer, size_t size, off_t offset);
  ssize_t (*pwrite)(int fd, const void *buffer, size_t size, off_t offset);
  void *(*map)(int fd, size_t size); /* read-only; NULL on failure */
  int (*fsync)(int fd);
  int (*reserve)(int fd, off_t size); /* sets disk space aside and extends the file */
  int (*mkdir)(const char *path);
  int (*rename)(const char *from, const char *to);
  int (*exchange)(const char *a,
                  const char *b);             /* atomically; ENOSYS where there is no such call */
  int (*free_space)(int fd, uint64_t *bytes); /* of the file system of fd */
} qli_os;

extern const qli_os qli_os_system;

/* Read or write exactly size bytes, whatever pieces the system makes of it. False with errno;
 * an end of file before size bytes is errno 0. */
bool qli_os_read(const qli_os *os, int fd, void *buffer, size_t size, uint64_t offset);
bool qli_os_write(const qli_os *os, int fd, const void *buffer, size_t size, uint64_t offset);

#endif
