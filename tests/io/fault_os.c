/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "fault_os.h"
#include "scratch.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

int fault_can_exchange = 1;

static enum fault_kind kind;
static unsigned target, calls;
static int code;
static const char *failed;

void fault_set(enum fault_kind new_kind, unsigned at, int new_code)
{
  kind = new_kind;
  target = at;
  code = new_code;
  calls = 0;
  failed = "none";
}

unsigned fault_calls(void)
{
  return calls;
}

const char *fault_name(void)
{
  return failed;
}

static void die(void)
{
  raise(SIGKILL);
}

/* Before each call: 1 when it must fail. */
static int strike(const char *name)
{
  const unsigned call = calls++;
  if (call == target && kind == FAULT_KILL_BEFORE)
    die();
  if ((kind == FAULT_ONCE && call == target) || (kind == FAULT_STICKY && call >= target)) {
    if (call == target)
      failed = name;
    errno = code;
    return 1;
  }
  return 0;
}

static int after(int result)
{
  if (calls == target + 1 && kind == FAULT_KILL_AFTER)
    die();
  return result;
}

static int fault_open_at(int dir, const char *path, int flags, unsigned mode)
{
  return strike("open") ? -1 : after(qli_os_system.open_at(dir, path, flags, mode));
}

/* A failing close has closed all the same, as on Linux. */
static int fault_close(int fd)
{
  if (!strike("close"))
    return after(qli_os_system.close(fd));
  qli_os_system.close(fd);
  errno = code;
  return -1;
}

static int fault_fstat(int fd, struct stat *st)
{
  return strike("fstat") ? -1 : after(qli_os_system.fstat(fd, st));
}

/* Every third call is interrupted, the others move up to 7 bytes. */
static int piecemeal(size_t *size)
{
  if (kind != FAULT_PIECEMEAL)
    return 0;
  if (calls % 3 == 0) {
    errno = EINTR;
    return 1;
  }
  *size = *size < 1 + calls % 7 ? *size : 1 + calls % 7;
  return 0;
}

static ssize_t fault_pread(int fd, void *buffer, size_t size, off_t offset)
{
  if (strike("pread") || piecemeal(&size))
    return -1;
  return qli_os_system.pread(fd, buffer, size, offset);
}

static ssize_t fault_pwrite(int fd, const void *buffer, size_t size, off_t offset)
{
  if (strike("pwrite") || piecemeal(&size))
    return -1;
  const ssize_t put = qli_os_system.pwrite(fd, buffer, size, offset);
  after(0);
  return put;
}

static void *fault_map(int fd, size_t size)
{
  return strike("mmap") ? NULL : qli_os_system.map(fd, size);
}

static int fault_fsync(int fd)
{
  return strike("fsync") ? -1 : after(qli_os_system.fsync(fd));
}

static int fault_reserve(int fd, off_t size)
{
  return strike("fallocate") ? -1 : after(qli_os_system.reserve(fd, size));
}

static int fault_mkdir(const char *path)
{
  return strike("mkdir") ? -1 : after(qli_os_system.mkdir(path));
}

static int fault_rename(const char *from, const char *to)
{
  return strike("rename") ? -1 : after(qli_os_system.rename(from, to));
}

static int fault_exchange(const char *a, const char *b)
{
  if (!fault_can_exchange) {
    errno = ENOSYS;
    return -1;
  }
  return strike("exchange") ? -1 : after(qli_os_system.exchange(a, b));
}

static int fault_free_space(int fd, uint64_t *bytes)
{
  return strike("statvfs") ? -1 : after(qli_os_system.free_space(fd, bytes));
}

const qli_os fault_os = {
    .open_at = fault_open_at,
    .close = fault_close,
    .fstat = fault_fstat,
    .pread = fault_pread,
    .pwrite = fault_pwrite,
    .map = fault_map,
    .fsync = fault_fsync,
    .reserve = fault_reserve,
    .mkdir = fault_mkdir,
    .rename = fault_rename,
    .exchange = fault_exchange,
    .free_space = fault_free_space,
};

int count_descriptors(void)
{
  return count_entries("/proc/self/fd");
}
