/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */

/* Times ggml's product on its CPU backend, in its repacked layouts where it has one, and prints one
 * JSON row for each measurement. Built by hand against a ggml that the user has built; no part of
 * this project's build (doc/benchmarks.md says how).
 *
 *   bench_ggml TYPES N K MS THREADS STATE SECONDS COLD_MIB
 *   bench_ggml q4_0,q8_0,tq2_0,f16,f32 4096 4096 1,16,512 1 both 0.3 128
 */
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <ggml.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { COPIES = 1024, SAMPLES = 4096 };

typedef struct {
  ggml_backend_t backend;
  ggml_backend_dev_t device;
  enum ggml_type type;
  int64_t n, k;
  struct ggml_context *weights_ctx;
  ggml_backend_buffer_t weights_buffer;
  struct ggml_tensor *weights[COPIES];
  size_t copies, bytes;
  int repacked;
} bench;

/* Products of one graph; several graphs go through all copies. */
typedef struct {
  struct ggml_context *ctx;
  ggml_backend_buffer_t buffer;
  struct ggml_cgraph *graphs[COPIES];
  size_t count, products;
} graphs;

static double now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void die(const char *what)
{
  fprintf(stderr, "bench_ggml: %s\n", what);
  exit(1);
}

static void silence(enum ggml_log_level level, const char *text, void *user)
{
  (void)level;
  (void)text;
  (void)user;
}

static void *need(size_t bytes)
{
  void *block = calloc(bytes, 1);
  if (block == NULL)
    die("no memory");
  return block;
}

static struct ggml_context *context(size_t tensors)
{
  struct ggml_init_params params = {ggml_tensor_overhead() * tensors + ggml_graph_overhead() * 64 +
                                        (size_t)(1 << 20),
                                    NULL, true};
  struct ggml_context *ctx = ggml_init(params);
  if (ctx == NULL)
    die("no memory");
  return ctx;
}

static float *numbers(size_t count, float factor)
{
  float *x = need(count * sizeof *x);
  uint64_t state = 3;
  for (size_t i = 0; i < count; i++) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    x[i] = factor * ((float)(state >> 40) * 0x1p-23f - 1.0f);
  }
  return x;
}

/* Weights in the buffer type; 0 when its products are not supported there. */
static int try_buffer(bench *b, ggml_backend_buffer_type_t type, size_t copies)
{
  b->weights_ctx = context(copies + 4);
  for (size_t i = 0; i < copies; i++)
    b->weights[i] = ggml_new_tensor_2d(b->weights_ctx, b->type, b->k, b->n);
  b->weights_buffer = ggml_backend_alloc_ctx_tensors_from_buft(b->weights_ctx, type);
  if (b->weights_buffer != NULL) {
    struct ggml_context *probe = context(8);
    struct ggml_tensor *x = ggml_new_tensor_2d(probe, GGML_TYPE_F32, b->k, 1);
    const int fits = ggml_backend_dev_supports_op(b->device, ggml_mul_mat(probe, b->weights[0], x));
    ggml_free(probe);
    if (fits)
      return 1;
    ggml_backend_buffer_free(b->weights_buffer);
  }
  ggml_free(b->weights_ctx);
  return 0;
}

static void allocate(bench *b, size_t copies)
{
  ggml_backend_reg_t reg = ggml_backend_dev_backend_reg(b->device);
  ggml_backend_dev_get_extra_bufts_t extra =
      (ggml_backend_dev_get_extra_bufts_t)ggml_backend_reg_get_proc_address(
          reg, "ggml_backend_dev_get_extra_bufts");
  ggml_backend_buffer_type_t *types = extra != NULL ? extra(b->device) : NULL;
  b->repacked = 1;
  for (; types != NULL && *types != NULL; types++)
    if (try_buffer(b, *types, copies))
      return;
  b->repacked = 0;
  if (!try_buffer(b, ggml_backend_cpu_buffer_type(), copies))
    die("the product is not supported");
}

static void make_weights(bench *b, size_t cold_bytes)
{
  const size_t count = (size_t)(b->n * b->k);
  float *source = numbers(count, 0.03f);
  b->bytes = ggml_row_size(b->type, b->k) * (size_t)b->n;
  b->copies = cold_bytes / b->bytes + 2;
  if (b->copies > COPIES)
    b->copies = COPIES;
  void *packed = need(b->bytes);
  if (b->type == GGML_TYPE_F32)
    memcpy(packed, source, b->bytes);
  else
    ggml_quantize_chunk(b->type, source, packed, 0, b->n, b->k, NULL);
  allocate(b, b->copies);
  for (size_t i = 0; i < b->copies; i++)
    ggml_backend_tensor_set(b->weights[i], packed, 0, b->bytes);
  free(source);
  free(packed);
}

/* About ten milliseconds of work in a graph, so that starting one does not count. */
static size_t products_of(const bench *b, int64_t m, int cold)
{
  const double each = 2.0 * (double)m * (double)b->n * (double)b->k / 80e9 + 2e-4;
  const size_t wanted = (size_t)(10e-3 / each) + 1, most = cold ? b->copies : 16;
  return wanted < most ? wanted : most;
}

static graphs build(const bench *b, int64_t m, int cold)
{
  graphs g = {.products = products_of(b, m, cold)};
  g.count = cold ? (b->copies + g.products - 1) / g.products : 1;
  g.ctx = context(g.count * g.products * 2 + 16 + g.count * 64);
  struct ggml_tensor *x = ggml_new_tensor_2d(g.ctx, GGML_TYPE_F32, b->k, m);
  for (size_t i = 0, turn = 0; i < g.count; i++) {
    g.graphs[i] = ggml_new_graph_custom(g.ctx, g.products + 8, false);
    for (size_t p = 0; p < g.products; p++, turn++)
      ggml_build_forward_expand(g.graphs[i],
                                ggml_mul_mat(g.ctx, b->weights[cold ? turn % b->copies : 0], x));
  }
  g.buffer = ggml_backend_alloc_ctx_tensors_from_buft(g.ctx, ggml_backend_cpu_buffer_type());
  if (g.buffer == NULL)
    die("no memory for activations");
  float *values = numbers((size_t)(m * b->k), 1.0f);
  ggml_backend_tensor_set(x, values, 0, (size_t)(m * b->k) * sizeof *values);
  free(values);
  return g;
}

static int by_value(const void *a, const void *b)
{
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void measure(const bench *b, int64_t m, int threads, int cold, double seconds)
{
  static double times[SAMPLES];
  graphs g = build(b, m, cold);
  size_t count = 0, turn = 0;
  for (size_t i = 0; i < (g.count < 4 ? g.count : 4); i++)
    ggml_backend_graph_compute(b->backend, g.graphs[i]);
  const double start = now();
  double last = 0;
  while (count < SAMPLES &&
         (now() - start < seconds || count < (last > 0.5 * seconds ? 3u : 15u))) {
    const double begin = now();
    if (ggml_backend_graph_compute(b->backend, g.graphs[turn]) != GGML_STATUS_SUCCESS)
      die("a product failed");
    last = now() - begin;
    times[count++] = last / (double)g.products;
    turn = (turn + 1) % g.count;
  }
  qsort(times, count, sizeof times[0], by_value);
  const double median = times[count / 2];
  printf("{\"peer\": \"ggml\", \"weights\": \"%s\", \"act_dtype\": \"f32\", \"repacked\": %s, "
         "\"m\": %lld, \"n\": %lld, \"k\": %lld, \"threads\": %d, \"cold\": %s, \"seconds\": %.9g, "
         "\"seconds_least\": %.9g, \"calls\": %zu, \"weight_bytes\": %zu, "
         "\"weight_gb_per_s\": %.6g, \"gops\": %.6g, \"version\": \"%s %s\"}\n",
         ggml_type_name(b->type), b->repacked ? "true" : "false", (long long)m, (long long)b->n,
         (long long)b->k, threads, cold ? "true" : "false", median, times[0], count * g.products,
         b->bytes, (double)b->bytes / median * 1e-9,
         2.0 * (double)m * (double)b->n * (double)b->k / median * 1e-9, ggml_version(),
         ggml_commit());
  fflush(stdout);
  ggml_backend_buffer_free(g.buffer);
  ggml_free(g.ctx);
}

static enum ggml_type type_of(const char *name)
{
  for (int i = 0; i < GGML_TYPE_COUNT; i++)
    if (ggml_type_name((enum ggml_type)i) != NULL &&
        strcmp(ggml_type_name((enum ggml_type)i), name) == 0)
      return (enum ggml_type)i;
  fprintf(stderr, "bench_ggml: no type '%s'\n", name);
  exit(2);
}

static void run_type(bench *b, const char *type, char **words)
{
  char ms[256];
  const int threads = atoi(words[5]);
  const char *state = words[6];
  b->type = type_of(type);
  b->n = atoll(words[2]);
  b->k = atoll(words[3]);
  make_weights(b, (size_t)atoll(words[8]) << 20);
  ggml_backend_cpu_set_n_threads(b->backend, threads);
  snprintf(ms, sizeof ms, "%s", words[4]);
  for (char *m = strtok(ms, ","); m != NULL; m = strtok(NULL, ","))
    for (int cold = 1; cold >= 0; cold--)
      if (strcmp(state, "both") == 0 || (strcmp(state, "cold") == 0) == cold)
        measure(b, atoll(m), threads, cold, atof(words[7]));
  ggml_backend_buffer_free(b->weights_buffer);
  ggml_free(b->weights_ctx);
}

int main(int count, char **words)
{
  static bench b;
  char types[256], *next = types;
  if (count != 9)
    die("usage: bench_ggml TYPES N K MS THREADS both|cold|hot SECONDS COLD_MIB");
  ggml_log_set(silence, NULL);
  b.backend = ggml_backend_cpu_init();
  if (b.backend == NULL)
    die("no CPU backend");
  b.device = ggml_backend_get_device(b.backend);
  snprintf(types, sizeof types, "%s", words[1]);
  while (next != NULL && *next != '\0') {
    char *type = next;
    next = strchr(next, ',');
    if (next != NULL)
      *next++ = '\0';
    run_type(&b, type, words);
  }
  ggml_backend_free(b.backend);
  return 0;
}
