/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_IO_ST_LAYOUT_H
#define QLI_IO_ST_LAYOUT_H

#include "st_header.h"
#include "text.h"

/* Where every tensor of a checkpoint will lie. A pure function of the set of tensors. */

/* Sorts by name and sets shard, begin and end: in the order of names a new shard starts when
 * shard_bytes (0: never) would be passed, but none is empty; inside a shard the widest type comes
 * first, then the name, as the reference writer has it. order receives the tensors by shard and
 * position. False when a size overflows. */
bool qli_st_place(qli_st_tensor *tensors, size_t count, uint64_t shard_bytes,
                  const qli_st_tensor **order, size_t *shards);

/* The header of count tensors in their order, with the length before it and padded with spaces to
 * a multiple of 8, byte for byte as the reference writer has it for the metadata format = pt. */
void qli_st_header_text(qli_text *text, const qli_st_tensor *const *tensors, size_t count);

enum { QLI_ST_NAME_SIZE = 64 };

/* File name of a shard, as transformers has it. */
void qli_st_shard_name(char name[QLI_ST_NAME_SIZE], size_t shard, size_t shards);

/* model.safetensors.index.json for tensors sorted by name. */
void qli_st_index_text(qli_text *text, const qli_st_tensor *tensors, size_t count, size_t shards,
                       uint64_t total_bytes);

#endif
