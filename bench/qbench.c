/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "qbench.h"

#include <string.h>

#if defined(QBENCH_OPENBLAS)
#include <cblas.h>

/* `ql bench` without the rest of the program, and with OpenBLAS's sgemm beside it where the build
 * has one: linked in directly, on the same weights, in the same run. */

/* Declared here: not every cblas.h names them. */
void openblas_set_num_threads(int count);
char *openblas_get_corename(void);

static void sgemm_threads(size_t count)
{
  openblas_set_num_threads((int)count);
}

static const char *sgemm_kernel(void)
{
  return openblas_get_corename();
}

static void sgemm(const float *w, const float *x, float *y, size_t m, size_t n, size_t k)
{
  const int rows = (int)m, cols = (int)n, depth = (int)k;
  if (m == 1)
    cblas_sgemv(CblasRowMajor, CblasNoTrans, cols, depth, 1, w, depth, x, 1, 0, y, 1);
  else
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, cols, depth, 1, x, depth, w, depth,
                0, y, cols);
}

static const qbench_peer openblas = {"openblas-sgemm", sgemm_threads, sgemm_kernel, sgemm};
#endif

static void usage(void)
{
  printf("usage: qbench [--quick] [--json] [--NAME=VALUE]...\n"
         "  --op=LIST        of %s%s\n"
         "  --shape=LIST     NxK, attention, up, down, up-wide, key-value, head\n"
         "  --m=LIST --threads=LIST --compute=LIST (f32,a16,a8)\n"
         "  --state=both|cold|hot  --act=f32|f16|bf16  --original=f32|f16|bf16|none\n"
         "  --group=N (-1: whole rows)  --isa=NAME  --seconds=S  --cold-mib=N\n"
         "Lists are separated by commas. 'ql help bench' says more.\n",
         qbench_op_names(),
#if defined(QBENCH_OPENBLAS)
         ", openblas-sgemm"
#else
         ""
#endif
  );
}

static int set(qbench_config *config, const char *word)
{
  char name[32];
  const char *value = strchr(word, '=');
  if (strncmp(word, "--", 2) != 0 || value == NULL || value - word - 2 >= (int)sizeof name)
    return -1;
  snprintf(name, sizeof name, "%.*s", (int)(value - word - 2), word + 2);
  return qbench_config_set(config, name, value + 1);
}

int main(int count, char **words)
{
  qbench_config config;
  qbench_result result;
  int json = 0;
  qbench_config_init(&config);
  for (int i = 1; i < count; i++)
    if (strcmp(words[i], "--quick") == 0)
      qbench_config_quick(&config);
#if defined(QBENCH_OPENBLAS)
  config.peer = &openblas;
#endif
  for (int i = 1; i < count; i++) {
    if (strcmp(words[i], "--help") == 0) {
      usage();
      return 0;
    }
    if (strcmp(words[i], "--json") == 0)
      json = 1;
    else if (strcmp(words[i], "--quick") != 0 && set(&config, words[i]) != 0) {
      fprintf(stderr, "qbench: %s: %s\n", words[i],
              config.error[0] != '\0' ? config.error : "unknown; try --help");
      return 2;
    }
  }
  const int code = qbench_run(&config, &result);
  if (code != 0)
    fprintf(stderr, "qbench: %s\n", config.error);
  if (json)
    qbench_print_json(&result, stdout);
  else
    qbench_print_table(&result, stdout);
  qbench_result_free(&result);
  return code == 0 ? 0 : 1;
}
