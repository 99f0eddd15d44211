/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_BASE_PAGES_H
#define QLI_BASE_PAGES_H

#include <stddef.h>

/* Advice to the operating system about memory. None of it can fail: a system that does not take it
 * leaves things as they are. */

/* Huge pages for the aligned inside of a block of 4 MiB or more that is about to be written: fewer
 * page faults now and fewer misses of the address cache later. */
void qli_pages_huge(void *block, size_t bytes);

/* Gives back the whole pages inside a block whose contents nobody needs any more: they read as zero
 * or as the file that they map. */
void qli_pages_discard(const void *block, size_t bytes);

#endif
