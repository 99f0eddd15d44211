/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "isa.h"
#include "kcheck.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void run_families(kc *k, const qlk_table *scalar, const qlk_table *below,
                         const qlk_table *here)
{
#define KC_FAMILY(name) kc_check_##name(k, scalar, below, here);
#include "families.def"
#undef KC_FAMILY
}

static void run_isa(kc *k, const qli_isa *isa)
{
  const qli_isa *parent = qli_isa_find(isa->parent);
  qlk_table scalar, below, here;
  qli_isa_fill(qli_isa_at(0), &scalar);
  qli_isa_fill(isa, &here);
  if (parent != NULL)
    qli_isa_fill(parent, &below);
  k->isa = isa->name;
  const size_t kernels = k->kernels, failures = k->failures, cases = k->cases;
  for (unsigned r = 0; r < k->repeat; r++, k->seed++)
    run_families(k, &scalar, parent != NULL ? &below : NULL, &here);
  k->seed -= k->repeat;
  if (!k->list && !k->bench)
    printf("%-12s %zu kernels, %zu cases, %zu failed\n", isa->name,
           (k->kernels - kernels) / k->repeat, k->cases - cases, k->failures - failures);
}

/* True when name is one of the comma-separated list. */
static bool listed(const char *list, const char *name)
{
  const size_t n = strlen(name);
  for (const char *p = list; p != NULL && *p != '\0';
       p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
    if (strncmp(p, name, n) == 0 && (p[n] == '\0' || p[n] == ','))
      return true;
  return false;
}

static size_t report_skipped(const char *require)
{
  size_t missing = 0;
  for (size_t i = 0; qli_isa_at(i) != NULL; i++) {
    const qli_isa *isa = qli_isa_at(i);
    const bool required = listed(require, isa->name);
    if (qli_isa_runnable(isa))
      continue;
    if (isa->fill != NULL)
      printf("%-12s built, but not run: this machine lacks it\n", isa->name);
    if (required) {
      fprintf(stderr, "FAIL %s is required: %s\n", isa->name,
              isa->fill != NULL ? "this machine lacks it" : "not built");
      missing++;
    }
  }
  return missing;
}

static bool option(const char *argument, const char *name, const char **value)
{
  const size_t n = strlen(name);
  if (strncmp(argument, name, n) != 0 || argument[n] != '=')
    return false;
  *value = argument + n + 1;
  return true;
}

static void usage(void)
{
  puts(
      "kcheck [--isa=GLOB] [--kernel=GLOB] [--seed=N] [--repeat=N] [--require=ISA,ISA]\n"
      "       [--list] [--bench] [--selftest]\n"
      "Tests every kernel that this machine can run against scalar and against formulas in double\n"
      "precision. --bench times them; --selftest checks that broken kernels are caught.");
}

static bool parse(int count, char **arguments, kc *k, const char **require, bool *selftest)
{
  for (int i = 1; i < count; i++) {
    const char *value = NULL;
    if (option(arguments[i], "--isa", &k->isa_glob) ||
        option(arguments[i], "--kernel", &k->kernel_glob) ||
        option(arguments[i], "--require", require))
      continue;
    if (option(arguments[i], "--seed", &value))
      k->seed = strtoull(value, NULL, 0);
    else if (option(arguments[i], "--repeat", &value))
      k->repeat = (unsigned)strtoul(value, NULL, 0);
    else if (strcmp(arguments[i], "--list") == 0)
      k->list = true;
    else if (strcmp(arguments[i], "--bench") == 0)
      k->bench = true;
    else if (strcmp(arguments[i], "--selftest") == 0)
      *selftest = true;
    else
      return false;
  }
  return k->repeat > 0;
}

int main(int count, char **arguments)
{
  static kc k = {.seed = 1, .repeat = 1};
  const char *require = NULL;
  bool selftest = false;
  if (!parse(count, arguments, &k, &require, &selftest)) {
    usage();
    return 2;
  }
  if (selftest)
    return kc_selftest(k.seed, true) == 0 ? 0 : 1;
  size_t run = 0;
  for (size_t i = 0; qli_isa_at(i) != NULL; i++) {
    const qli_isa *isa = qli_isa_at(i);
    if (!qli_isa_runnable(isa) || (k.isa_glob && fnmatch(k.isa_glob, isa->name, 0) != 0))
      continue;
    run_isa(&k, isa);
    run++;
  }
  const size_t missing = report_skipped(require);
  if (run == 0 || k.kernels == 0) {
    fprintf(stderr, "FAIL nothing was run\n");
    return 1;
  }
  return k.failures + missing == 0 ? 0 : 1;
}
