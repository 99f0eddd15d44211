/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_IO_FAULT_OS_H
#define TESTS_IO_FAULT_OS_H

#include "../../lib/io/os.h"

/* The real operating system, but the call number fault_at (from 0, all kinds counted together)
 * fails. */
extern const qli_os fault_os;

enum fault_kind {
  FAULT_NONE,
  FAULT_ONCE,        /* that call fails with fault_errno */
  FAULT_STICKY,      /* and all calls after it */
  FAULT_KILL_BEFORE, /* the process dies instead of making the call */
  FAULT_KILL_AFTER,  /* the process dies after the call */
  FAULT_PIECEMEAL    /* reads and writes are interrupted and move a few bytes at a time */
};

void fault_set(enum fault_kind kind, unsigned at, int code);

/* Calls made since fault_set, and the name of the one that failed first. */
unsigned fault_calls(void);
const char *fault_name(void);

/* Open file descriptors of this process. */
int count_descriptors(void);

/* What exchange does: 1 as the system, 0 fails with ENOSYS, as on systems without it. */
extern int fault_can_exchange;

#endif
