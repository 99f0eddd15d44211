/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "pages.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

enum { HUGE_PAGE = 2 << 20, LEAST_HUGE = 4 << 20 };

/* The part of a block that begins and ends at multiples of size, a power of two. */
static void advise_inside(uintptr_t block, size_t bytes, size_t size, int advice)
{
  const uintptr_t begin = (block + size - 1) & ~(uintptr_t)(size - 1);
  const uintptr_t end = (block + bytes) & ~(uintptr_t)(size - 1);
  const int saved = errno;
  if (end > begin)
    (void)madvise((void *)begin, end - begin, advice);
  errno = saved;
}

void qli_pages_huge(void *block, size_t bytes)
{
#if defined(MADV_HUGEPAGE)
  if (bytes >= LEAST_HUGE)
    advise_inside((uintptr_t)block, bytes, HUGE_PAGE, MADV_HUGEPAGE);
#else
  (void)block;
  (void)bytes;
#endif
}

void qli_pages_discard(const void *block, size_t bytes)
{
  const long page = sysconf(_SC_PAGESIZE);
  if (page > 0)
    advise_inside((uintptr_t)block, bytes, (size_t)page, MADV_DONTNEED);
}
