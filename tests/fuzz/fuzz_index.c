/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "driver.h"

#include "../../lib/io/io_util.h"
#include "../../lib/io/st_index.h"

#include <quantlib/quantlib.h>

#include <stdlib.h>
#include <string.h>

/* An index with any bytes: it is refused, or its names are sorted, valid and each there once, and
 * no file name leads out of the directory. */

#define SEED(text) \
  { \
    text, sizeof(text) - 1 \
  }

const fuzz_seed fuzz_seeds[] = {
    SEED("{\"metadata\":{\"total_size\":12},\"weight_map\":{\"a\":\"model-00001-of-00002."
         "safetensors\","
         "\"b\":\"model-00002-of-00002.safetensors\"}}"),
    SEED("{\"weight_map\":{\"c\":\"x\",\"b\":\"y\",\"a\":\"x\"},\"more\":[1,-2.5e3,{\"k\":null}]}"
         "\n"),
    SEED("{\"weight_map\":{\"a\":\"../x\",\"b\":\"/etc\",\"c\":\"..\",\"\\u0061b\":\"\\u002e\"}}"),
    SEED("{\"metadata\":[[[[[[[[{}]]]]]]]],\"weight_map\":{\"\\ud83d\\ude00\":\"f\"}}"),
};
const size_t fuzz_seed_count = sizeof fuzz_seeds / sizeof fuzz_seeds[0];

void fuzz_repair(uint8_t *data, size_t size)
{
  (void)data;
  (void)size;
}

static void check_index(const qli_st_index *x)
{
  FUZZ_REQUIRE(x->count > 0 && x->file_count > 0 && x->file_count <= x->count);
  for (size_t i = 0; i < x->count; i++) {
    FUZZ_REQUIRE(qli_name_valid(x->entries[i].tensor));
    FUZZ_REQUIRE(i == 0 || strcmp(x->entries[i - 1].tensor, x->entries[i].tensor) < 0);
    FUZZ_REQUIRE(x->entries[i].shard < x->file_count);
    FUZZ_REQUIRE(strcmp(x->files[x->entries[i].shard], x->entries[i].file) == 0);
  }
  for (size_t i = 0; i < x->file_count; i++) {
    FUZZ_REQUIRE(strchr(x->files[i], '/') == NULL && x->files[i][0] != '\0');
    FUZZ_REQUIRE(strcmp(x->files[i], ".") != 0 && strcmp(x->files[i], "..") != 0);
    FUZZ_REQUIRE(i == 0 || strcmp(x->files[i - 1], x->files[i]) < 0);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  ql_ctx *ctx = fuzz_ctx();
  qli_st_index index = {0};
  ql_error error = QL_ERROR_INIT;
  char *text = malloc(size + 1);
  FUZZ_REQUIRE(text != NULL);
  if (size > 0)
    memcpy(text, data, size);
  text[size] = '\0';
  const ql_status status = qli_st_index_parse(ctx, "index", text, size, &index, &error);
  if (status == QL_STATUS_OK)
    check_index(&index);
  else
    FUZZ_REQUIRE(error.status == status && strncmp(error.text, "index: ", 7) == 0);
  qli_st_index_free(ctx, &index);
  free(text);
  return 0;
}
