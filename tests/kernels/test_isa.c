/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "isa.h"

#include <quantlib/context.h>
#include <quantlib/runtime.h>

#include <stdio.h>
#include <string.h>

/* test_isa LEVEL...: these levels must be offered by this machine, and no others. Without names,
 * on Linux on x86: those whose flags /proc/cpuinfo has. In any case those that are offered make a
 * context, others are refused as unsupported, and only by_default ones are chosen unasked. */

static int failures;

static void expect(bool good, const char *isa, const char *what)
{
  if (good)
    return;
  fprintf(stderr, "FAIL %s: %s\n", isa, what);
  failures++;
}

#if defined(__x86_64__) && defined(__linux__)
static const struct {
  const char *isa, *flags[6];
} flags_of[] = {{"scalar", {NULL}},
                {"avx2", {"avx2", "fma", "f16c", "bmi2"}},
                {"avxvnni", {"avx2", "fma", "f16c", "bmi2", "avx_vnni"}},
                {"avx512", {"fma", "avx512f", "avx512bw", "avx512dq", "avx512vl"}},
                {"avx512vnni", {"avx512bw", "avx512dq", "avx512vl", "avx512_vnni"}}};

static bool in_cpuinfo(const char *isa)
{
  static char line[1 << 14];
  FILE *f = fopen("/proc/cpuinfo", "r");
  if (f == NULL)
    return false;
  while (fgets(line, sizeof line - 1, f) != NULL && strncmp(line, "flags", 5) != 0)
    continue;
  fclose(f);
  line[strcspn(line, "\n")] = '\0';
  strcat(line, " ");
  for (size_t i = 0; i < sizeof flags_of / sizeof flags_of[0]; i++) {
    bool all = strcmp(flags_of[i].isa, isa) == 0;
    for (size_t j = 0; all && j < 6 && flags_of[i].flags[j] != NULL; j++) {
      char word[32];
      snprintf(word, sizeof word, " %s ", flags_of[i].flags[j]);
      all = strstr(line, word) != NULL;
    }
    if (all)
      return true;
  }
  return false;
}

static bool known(const char *isa)
{
  for (size_t i = 0; i < sizeof flags_of / sizeof flags_of[0]; i++)
    if (strcmp(flags_of[i].isa, isa) == 0)
      return true;
  return false;
}
#else
static bool in_cpuinfo(const char *isa)
{
  (void)isa;
  return false;
}

static bool known(const char *isa)
{
  (void)isa;
  return false;
}
#endif

static void check_context(const qli_isa *isa, bool offered)
{
  ql_ctx_config config = QL_CTX_CONFIG_INIT;
  ql_error error = QL_ERROR_INIT;
  ql_ctx *ctx = NULL;
  config.isa = isa->name;
  const ql_status status = ql_ctx_create(&config, &ctx, &error);
  expect(status == (offered ? QL_STATUS_OK : QL_STATUS_UNSUPPORTED), isa->name, error.text);
  if (status == QL_STATUS_OK)
    expect(strcmp(ql_ctx_isa_name(ctx), isa->name) == 0, isa->name, "another level was chosen");
  ql_ctx_destroy(ctx);
}

int main(int count, char **names)
{
  for (size_t i = 0; qli_isa_at(i) != NULL; i++) {
    const qli_isa *isa = qli_isa_at(i);
    bool wanted = count == 1 && in_cpuinfo(isa->name);
    for (int j = 1; j < count; j++)
      wanted = wanted || strcmp(names[j], isa->name) == 0;
    const bool runnable = qli_isa_runnable(isa);
    if (count > 1 || known(isa->name))
      expect(runnable == (wanted && isa->fill != NULL), isa->name,
             runnable ? "is offered" : "is not offered");
    check_context(isa, runnable);
  }
  ql_ctx_config config = QL_CTX_CONFIG_INIT;
  ql_ctx *ctx = NULL;
  expect(ql_ctx_create(&config, &ctx, NULL) == QL_STATUS_OK, "default", "no context");
  const qli_isa *chosen = qli_isa_find(ql_ctx_isa_name(ctx));
  expect(chosen->by_default && qli_isa_runnable(chosen), chosen->name, "is not on by default");
  ql_ctx_destroy(ctx);
  return failures == 0 ? 0 : 1;
}
