/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "../cm.h"

#include <quantlib/quantlib.h>

#include <stdlib.h>
#include <string.h>

static void test_defaults(void **state)
{
  (void)state;
  ql_ctx *ctx = NULL;
  assert_int_equal(ql_ctx_create(NULL, &ctx, NULL), QL_STATUS_OK);
  assert_non_null(ql_ctx_isa_name(ctx));
  assert_int_equal(ql_ctx_workers(ctx), 1);
  ql_ctx_destroy(ctx);
  ql_ctx_destroy(NULL);
}

static void test_isa_names(void **state)
{
  (void)state;
  ql_ctx_config config = QL_CTX_CONFIG_INIT;
  ql_error error = QL_ERROR_INIT;
  ql_ctx *ctx = NULL;
  int32_t runnable = 0;
  size_t count = 0;
  for (const char *name; (name = ql_isa_list(count, &runnable)) != NULL; count++) {
    config.isa = name;
    const ql_status status = ql_ctx_create(&config, &ctx, &error);
    assert_int_equal(status, runnable ? QL_STATUS_OK : QL_STATUS_UNSUPPORTED);
    if (!runnable)
      continue;
    assert_string_equal(ql_ctx_isa_name(ctx), name);
    ql_ctx_destroy(ctx);
    ctx = NULL;
  }
  assert_true(count >= 1);
  config.isa = "pentium";
  assert_int_equal(ql_ctx_create(&config, &ctx, &error), QL_STATUS_INVALID_ARGUMENT);
  assert_non_null(strstr(error.text, "pentium"));
  assert_null(ctx);
}

static void test_environment(void **state)
{
  (void)state;
  ql_ctx_config config = QL_CTX_CONFIG_INIT;
  ql_ctx *ctx = NULL;
  setenv("QL_ISA", "scalar", 1);
  assert_int_equal(ql_ctx_create(&config, &ctx, NULL), QL_STATUS_OK);
  assert_string_equal(ql_ctx_isa_name(ctx), "scalar");
  ql_ctx_destroy(ctx);
  setenv("QL_ISA", "nonsense", 1);
  ctx = NULL;
  assert_int_equal(ql_ctx_create(&config, &ctx, NULL), QL_STATUS_INVALID_ARGUMENT);
  config.isa = "scalar"; /* what the caller says goes before the environment */
  assert_int_equal(ql_ctx_create(&config, &ctx, NULL), QL_STATUS_OK);
  ql_ctx_destroy(ctx);
  unsetenv("QL_ISA");
}

static void *some_alloc(void *user, size_t size, size_t align)
{
  void *block = NULL;
  ++*(int *)user;
  return posix_memalign(&block, align, size) ? NULL : block;
}

static void some_free(void *user, void *block)
{
  --*(int *)user;
  free(block);
}

static void *no_alloc(void *user, size_t size, size_t align)
{
  (void)user, (void)size, (void)align;
  return NULL;
}

static void test_allocator(void **state)
{
  (void)state;
  ql_ctx_config config = QL_CTX_CONFIG_INIT;
  ql_error error = QL_ERROR_INIT;
  ql_ctx *ctx = NULL;
  int live = 0;
  config.allocator = (ql_allocator){&live, some_alloc, some_free};
  assert_int_equal(ql_ctx_create(&config, &ctx, &error), QL_STATUS_OK);
  assert_int_equal(live, 1);
  ql_ctx_destroy(ctx);
  assert_int_equal(live, 0);
  config.allocator.free = NULL;
  assert_int_equal(ql_ctx_create(&config, &ctx, &error), QL_STATUS_INVALID_ARGUMENT);
  config.allocator = (ql_allocator){NULL, no_alloc, some_free};
  assert_int_equal(ql_ctx_create(&config, &ctx, &error), QL_STATUS_NO_MEMORY);
}

/* A caller compiled against an older or newer header. */
static void test_struct_size(void **state)
{
  (void)state;
  struct {
    ql_ctx_config config;
    unsigned char later[16];
  } newer = {QL_CTX_CONFIG_INIT, {0}};
  ql_error error = QL_ERROR_INIT;
  ql_ctx *ctx = NULL;
  newer.config.struct_size = sizeof newer;
  assert_int_equal(ql_ctx_create(&newer.config, &ctx, &error), QL_STATUS_OK);
  ql_ctx_destroy(ctx);
  newer.later[7] = 1; /* asks for something that this library does not know */
  assert_int_equal(ql_ctx_create(&newer.config, &ctx, &error), QL_STATUS_INVALID_ARGUMENT);
  newer.config.struct_size = 8;
  assert_int_equal(ql_ctx_create(&newer.config, &ctx, &error), QL_STATUS_INVALID_ARGUMENT);
  ql_error old = QL_ERROR_INIT; /* an error struct that is too short is left alone */
  old.struct_size = 12;
  assert_int_equal(ql_ctx_create(&newer.config, &ctx, &old), QL_STATUS_INVALID_ARGUMENT);
  assert_int_equal(old.text[0], 0);
}

static void test_status_strings(void **state)
{
  (void)state;
  for (ql_status s = -3; s < 200; s++)
    assert_true(strlen(ql_status_str(s)) > 0);
  assert_string_equal(ql_status_str(12345), "unknown status");
  assert_int_equal(ql_version(), QL_API_VERSION_MAJOR * 10000 + QL_API_VERSION_MINOR * 100 +
                                     QL_API_VERSION_PATCH);
  assert_string_equal(ql_version_str(), "0.1.0");
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_defaults),    cmocka_unit_test(test_isa_names),
      cmocka_unit_test(test_environment), cmocka_unit_test(test_allocator),
      cmocka_unit_test(test_struct_size), cmocka_unit_test(test_status_strings),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
