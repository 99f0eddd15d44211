/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "commands.h"
#include "common.h"

#include "qbench.h"

#include <string.h>

typedef struct bench_arguments {
  common common;
  int quick;
  const char *op, *shape, *m, *compute, *state, *act, *original, *group, *seconds, *cold_mib;
} bench_arguments;

#define O(member) offsetof(bench_arguments, member)

static const option_row rows[] = {
    {"quick", 0, OPTION_FLAG, O(quick), 1, NULL, 0, 0, NULL, NULL,
     "Under a minute: n = k = 4096, m = 1 cold and hot, 16 and 512, the ops w4a16, w4a8, w8a8 and "
     "ternary."},
    {"op", 0, OPTION_TEXT, O(op), 0, "LIST", 0, 0, NULL, "all",
     "Of w4a16, w4a8, w2a16, w2a8, w3a16, w3a8, w5a16, w6a16, w8a16, w8a8, ternary, f32, f16, "
     "bf16, dequantize, quantize, hessian, gptq."},
    {"shape", 0, OPTION_TEXT, O(shape), 0, "LIST", 0, 0, NULL, "those of bench/shapes.def",
     "NxK: n outputs, k inputs; or attention, up, down, up-wide, key-value, head."},
    {"m", 'm', OPTION_TEXT, O(m), 0, "LIST", 0, 0, NULL, "1,2,4,8,16,32,64,128,512",
     "Rows of activations."},
    {"compute", 0, OPTION_TEXT, O(compute), 0, "LIST", 0, 0, NULL, "f32,a16,a8",
     "How products with quantized weights compute: activations as they are, as numbers of 16 bits, "
     "as "
     "codes of 8 bits (one scale for each row; in rows that say a8-group one for each row and "
     "group)."},
    {"state", 0, OPTION_TEXT, O(state), 0, "both|cold|hot", 0, 0, NULL, "both",
     "Cold: the calls go through copies of the weights that together are larger than the "
     "last-level cache; hot: the same weights again."},
    {"act", 0, OPTION_TEXT, O(act), 0, "f32|f16|bf16", 0, 0, NULL, "f32",
     "Type of activations and results."},
    {"group", 0, OPTION_TEXT, O(group), 0, "N", 0, 0, NULL, "128; w8a8, ternary: -1",
     "Columns that share a scale; -1: the whole row."},
    {"original", 0, OPTION_TEXT, O(original), 0, "f32|f16|bf16|none", 0, 0, NULL, "f16",
     "Floating-point weights that the others are compared with."},
    {"seconds", 0, OPTION_TEXT, O(seconds), 0, "S", 0, 0, NULL, "0.3",
     "Time for each row; at least 15 calls are timed, 5 where they take twice as long, 3 of a "
     "second or more."},
    {"cold-mib", 0, OPTION_TEXT, O(cold_mib), 0, "N", 0, 0, NULL, "four times the last-level cache",
     "Memory that cold calls go through."},
    {0},
};

static void on_progress(void *user, const char *text)
{
  session *s = user;
  if (s->options->quiet)
    return;
  if (s->bar)
    fprintf(stderr, "\r\033[K%s", text);
  else if (s->options->verbose)
    fprintf(stderr, "ql: %s\n", text);
  s->bar_drawn = s->bar;
  fflush(stderr);
}

/* 0, or a usage error. */
static int configure(const bench_arguments *a, qbench_config *c)
{
  const struct {
    const char *name, *value;
  } given[] = {
      {"op", a->op},
      {"shape", a->shape},
      {"m", a->m},
      {"compute", a->compute},
      {"state", a->state},
      {"act", a->act},
      {"group", a->group},
      {"original", a->original},
      {"seconds", a->seconds},
      {"cold-mib", a->cold_mib},
      {"isa", a->common.isa},
  };
  qbench_config_init(c);
  if (a->quick)
    qbench_config_quick(c);
  for (size_t i = 0; i < sizeof given / sizeof given[0]; i++)
    if (given[i].value != NULL && qbench_config_set(c, given[i].name, given[i].value) != 0)
      return usage_error("bench", "%s", c->error);
  if (a->common.threads > 0) {
    c->threads[0] = (size_t)a->common.threads;
    c->thread_count = 1;
  }
  return 0;
}

static int run(void *arguments)
{
  const bench_arguments *a = arguments;
  qbench_config config;
  qbench_result result;
  session s;
  int code = configure(a, &config);
  if (code == 0)
    code = session_open(&s, &a->common);
  if (code != 0)
    return code;
  config.stopped = cancelled;
  config.progress = on_progress;
  config.user = &s;
  config.reproducible = a->common.reproducible;
  const int failed = qbench_run(&config, &result);
  session_clear(&s);
  if (cancelled())
    code = EXIT_CANCELLED;
  else if (failed != 0) {
    snprintf(s.error.text, sizeof s.error.text, "%s", config.error);
    code = session_fail(&s, QL_STATUS_NO_MEMORY);
  }
  if (code == 0 || result.count > 0) {
    (a->common.json ? qbench_print_json : qbench_print_table)(&result, stdout);
    const int written = finish_stdout();
    code = code == 0 ? written : code;
  }
  qbench_result_free(&result);
  session_close(&s);
  return code;
}

const command command_bench = {
    "bench",
    NULL,
    "[OPTION]...",
    "time the kernels against the machine's limits",
    "Times products of packed weights and the work around them with 1 thread and with all, and "
    "measures in the same run what the machine allows: memory read and copied, caches read, and "
    "the peaks of f32, f16, bf16 and 8-bit instructions at the instruction set in use. Each row "
    "has the median of its calls and their spread, GB/s of packed weights, GOP/s (2 m n k by the "
    "time), the limit that binds and the share of it that was reached, and size and speed against "
    "the original's floating-point weights; joules per token where the machine tells them.\n\n"
    "With --json: an array of rows with op, weights, act_dtype, compute, group_size, m, n, k, "
    "threads, cold, isa, kernel, seconds, weight_gb_per_s, gops, roofline, roofline_fraction and "
    "more; what this build cannot do has status 'not available', a reason, and null for figures.",
    "  # how fast is this machine, in under a minute\n"
    "  ql bench --quick\n"
    "  # one product of a model's shape with 4-bit weights, as JSON\n"
    "  ql bench --op w4a8,w4a16 --shape 14336x4096 -m 1,512 --json\n",
    rows,
    sizeof(bench_arguments),
    run};
