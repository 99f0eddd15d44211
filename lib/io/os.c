/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int system_open_at(int dir, const char *path, int flags, unsigned mode)
{
  return openat(dir, path, flags, mode);
}

static int system_fstat(int fd, struct stat *st)
{
  return fstat(fd, st);
}

static void *system_map(int fd, size_t size)
{
  void *block = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
  return block == MAP_FAILED ? NULL : block;
}

static int system_reserve(int fd, off_t size)
{
#if defined(__linux__)
  return fallocate(fd, 0, 0, size);
#else
  return ftruncate(fd, size);
#endif
}

static int system_mkdir(const char *path)
{
  return mkdir(path, 0777);
}

static int system_exchange(const char *a, const char *b)
{
#if defined(RENAME_EXCHANGE)
  return renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE);
#else
  (void)a;
  (void)b;
  errno = ENOSYS;
  return -1;
#endif
}

static int system_free_space(int fd, uint64_t *bytes)
{
  struct statvfs v;
  if (fstatvfs(fd, &v) != 0)
    return -1;
  if (__builtin_mul_overflow((uint64_t)v.f_bavail, (uint64_t)v.f_frsize, bytes))
    *bytes = UINT64_MAX;
  return 0;
}

const qli_os qli_os_system = {
    .open_at = system_open_at,
    .close = close,
    .fstat = system_fstat,
    .pread = pread,
    .pwrite = pwrite,
    .map = system_map,
    .fsync = fsync,
    .reserve = system_reserve,
    .mkdir = system_mkdir,
    .rename = rename,
    .exchange = system_exchange,
    .free_space = system_free_space,
};

/* Linux moves at most 2^31 - 4096 bytes in one call; a smaller piece lets signals through. */
enum { PIECE = 1 << 30 };

bool qli_os_read(const qli_os *os, int fd, void *buffer, size_t size, uint64_t offset)
{
  unsigned char *to = buffer;
  for (size_t done = 0; done < size;) {
    const size_t piece = size - done < PIECE ? size - done : PIECE;
    const ssize_t got = os->pread(fd, to + done, piece, (off_t)(offset + done));
    if (got < 0 && errno == EINTR)
      continue;
    if (got <= 0) {
      errno = got < 0 ? errno : 0;
      return false;
    }
    done += (size_t)got;
  }
  return true;
}

bool qli_os_write(const qli_os *os, int fd, const void *buffer, size_t size, uint64_t offset)
{
  const unsigned char *from = buffer;
  for (size_t done = 0; done < size;) {
    const size_t piece = size - done < PIECE ? size - done : PIECE;
    const ssize_t put = os->pwrite(fd, from + done, piece, (off_t)(offset + done));
    if (put < 0 && errno == EINTR)
      continue;
    if (put <= 0) {
      errno = put < 0 ? errno : EIO;
      return false;
    }
    done += (size_t)put;
  }
  return true;
}
