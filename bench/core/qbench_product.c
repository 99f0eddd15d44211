/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "qbench_internal.h"

#include <stdlib.h>
#include <string.h>

enum { COPIES = 4096 };

/* One kind of weights in as many copies as cold products need. */
typedef struct {
  const qbench_op *op; /* the first with such weights */
  qbench_shape shape;
  size_t group; /* 0: whole rows or floating point */
  ql_packed *packed[COPIES];
  float *peer[COPIES];
  size_t copies, bytes; /* of one copy */
  char missing[160];
} weights;

static size_t group_of(const qbench_config *c, const qbench_op *op, qbench_shape shape)
{
  const int64_t group = op->bits == 0 ? 0 : c->group != 0 ? c->group : op->group;
  return group <= 0 || (size_t)group >= shape.k ? 0 : (size_t)group;
}

static void *random_floats(const weights *w, int *failed)
{
  const size_t count = w->shape.n * w->shape.k;
  float *x = malloc(count * sizeof *x);
  if (x == NULL) {
    *failed = 1;
    return NULL;
  }
  qbench_numbers(x, count, 0.02f, 3);
  if (w->op->dtype == QL_DTYPE_F32)
    return x;
  /* The upper half of the f32 is a bf16; as an f16 its bits are numbers of moderate size once the
   * exponent's top bit is clear. */
  uint16_t *half = (uint16_t *)(void *)x;
  for (size_t i = 0; i < count; i++) {
    uint32_t bits;
    memcpy(&bits, &x[i], sizeof bits);
    const uint16_t top = (uint16_t)(bits >> 16);
    half[i] = w->op->dtype == QL_DTYPE_BF16 ? top : (uint16_t)((top & 0x83ffu) | 0x2000u);
  }
  return x;
}

/* Packs one more copy from the source that is given. */
static ql_status pack(qbench_state *s, weights *w, const ql_qmat *q, const void *elements,
                      ql_error *error)
{
  ql_tensor t;
  ql_status status;
  if (w->op->peer) {
    w->bytes = w->shape.n * w->shape.k * sizeof(float);
    w->peer[w->copies] = malloc(w->bytes);
    if (w->peer[w->copies] == NULL)
      return QL_STATUS_NO_MEMORY;
    memcpy(w->peer[w->copies++], elements, w->bytes);
    return QL_STATUS_OK;
  }
  if (q != NULL)
    return ql_pack(s->packer, q, &w->packed[w->copies], error);
  /* the pointer is only read through */
  status = ql_tensor_init_2d(&t, (void *)(uintptr_t)elements, w->op->dtype, w->shape.n, w->shape.k);
  return status != QL_STATUS_OK ? status
                                : ql_pack_float(s->packer, &t, &w->packed[w->copies], error);
}

static ql_status pack_one(qbench_state *s, weights *w, const ql_qmat *q, const void *elements,
                          ql_error *error)
{
  ql_packed_info info = {.struct_size = sizeof info};
  const ql_status status = pack(s, w, q, elements, error);
  if (status != QL_STATUS_OK || w->op->peer)
    return status;
  ql_packed_get(w->packed[w->copies++], &info);
  w->bytes = (size_t)info.bytes;
  return QL_STATUS_OK;
}

static size_t copies_wanted(const qbench_config *c, const weights *w)
{
  if (!c->cold)
    return 1;
  const size_t wanted = c->cold_bytes / (w->bytes + 1) + 2;
  const size_t room = qbench_memory_available() / 2 / (w->bytes + 1) + 1;
  const size_t most = room < COPIES ? room : COPIES;
  return wanted < most ? wanted : most;
}

static void weights_free(weights *w)
{
  for (size_t i = 0; i < w->copies; i++) {
    ql_packed_destroy(w->packed[i]);
    free(w->peer[i]);
  }
  free(w);
}

/* Never NULL unless there is no memory at all; why there are no copies is in w->missing. */
static weights *weights_make(qbench_state *s, const qbench_op *op, qbench_shape shape, size_t group)
{
  weights *w = calloc(1, sizeof *w);
  ql_error error = QL_ERROR_INIT;
  ql_qmat *q = NULL;
  void *elements = NULL;
  int failed = 0;
  if (w == NULL)
    return NULL;
  w->op = op;
  w->shape = shape;
  w->group = group;
  ql_status status = QL_STATUS_OK;
  if (op->bits != 0)
    status = qbench_codes(s, op, shape, group, &q, &error);
  else
    elements = random_floats(w, &failed);
  if (failed)
    status = QL_STATUS_NO_MEMORY;
  for (size_t wanted = 1; status == QL_STATUS_OK && w->copies < wanted;) {
    status = pack_one(s, w, q, elements, &error);
    wanted = copies_wanted(s->config, w);
  }
  if (w->copies == 0)
    snprintf(w->missing, sizeof w->missing, "%s: %.120s", ql_status_str(status), error.text);
  ql_qmat_destroy(q);
  free(elements);
  return w;
}

typedef struct {
  const ql_ctx *ctx;
  const weights *w;
  const qbench_peer *peer;
  size_t copies, turn, m;
  float *x, *y; /* of any activation type */
  ql_tensor tx, ty;
  ql_gemm_options options;
  ql_act_config act;
  ql_error error;
  ql_status status;
} product;

static int multiply(void *arg)
{
  product *p = arg;
  const size_t turn = p->turn;
  p->turn = (turn + 1) % p->copies;
  if (p->peer != NULL) {
    p->peer->multiply(p->w->peer[turn], p->x, p->y, p->m, p->w->shape.n, p->w->shape.k);
    return 0;
  }
  p->status = ql_gemm(p->ctx, p->w->packed[turn], &p->tx, &p->ty, &p->options, &p->error);
  return p->status == QL_STATUS_OK ? 0 : -1;
}

static const char *dtype_name(ql_dtype dtype)
{
  return dtype == QL_DTYPE_F16 ? "f16" : dtype == QL_DTYPE_BF16 ? "bf16" : "f32";
}

static size_t act_bytes(ql_dtype dtype)
{
  return dtype == QL_DTYPE_F32 ? 4 : 2;
}

/* Activations about normal; as f16 and bf16 the same numbers less the lower bits. */
static void activations(void *x, ql_dtype dtype, size_t count)
{
  float *values = x;
  qbench_numbers(values, count, 1.0f, 7);
  if (dtype == QL_DTYPE_F32)
    return;
  uint16_t *half = x;
  for (size_t i = 0; i < count; i++) {
    uint32_t bits;
    memcpy(&bits, &values[i], sizeof bits);
    const uint32_t exponent = (bits >> 23 & 255) - 112;
    if (dtype == QL_DTYPE_BF16)
      half[i] = (uint16_t)(bits >> 16);
    else
      half[i] = (uint16_t)((bits >> 16 & 0x8000u) |
                           (exponent < 31 ? exponent << 10 | (bits >> 13 & 0x3ffu) : 0));
  }
}

static void weights_name(const weights *w, qbench_row *row)
{
  char group[32] = "ch";
  if (w->group != 0)
    snprintf(group, sizeof group, "g%zu", w->group);
  if (w->op->bits == 0)
    snprintf(row->weights, sizeof row->weights, "%s", w->op->format);
  else
    snprintf(row->weights, sizeof row->weights, "%s%s%s", w->op->format, group,
             w->op->kind == QL_GRID_TERNARY ? "" : "sym");
}

/* The level of memory from which a call reads: hot weights of a thread may fit its own cache. */
static qbench_limit memory_limit(const qbench_result *r, const qbench_row *row)
{
  if (row->cold)
    return QBENCH_DRAM_READ;
  if (row->bytes < (double)(r->l2_bytes * row->threads) * 0.75 &&
      row->roofs->value[QBENCH_L2_READ] > 0)
    return QBENCH_L2_READ;
  if (row->bytes < (double)r->llc_bytes * 0.9 && row->roofs->value[QBENCH_LLC_READ] > 0)
    return QBENCH_LLC_READ;
  return QBENCH_DRAM_READ;
}

static qbench_row describe(const qbench_state *s, const weights *w, const qbench_op *op, size_t m,
                           size_t threads, int cold)
{
  static const char *const computes[] = {"f32", "a16", "a8"};
  const size_t act = act_bytes(op->peer ? QL_DTYPE_F32 : s->config->act);
  qbench_row row = {.op = op->op, .m = m, .n = w->shape.n, .k = w->shape.k, .cold = cold};
  row.act_dtype = dtype_name(op->peer ? QL_DTYPE_F32 : s->config->act);
  row.compute = op->act == QL_ACT_GROUP ? "a8-group" : computes[op->compute];
  row.group = w->op->bits != 0 && w->group == 0 ? -1 : (int64_t)w->group;
  row.threads = s->result->threads[threads];
  row.roofs = &s->result->roofs[threads];
  row.product = 1;
  row.joules = -1;
  row.weight_bytes = (double)w->bytes;
  row.bytes = row.weight_bytes + (double)(m * (w->shape.n + w->shape.k) * act);
  row.operations = 2.0 * (double)m * (double)w->shape.n * (double)w->shape.k;
  row.core = op->compute == QL_COMPUTE_F32 ? QBENCH_FP32_FMA : QBENCH_INT8_DOT;
  row.core_factor = op->compute == QL_COMPUTE_A16 ? 2 : 1;
  row.memory = memory_limit(s->result, &row);
  snprintf(row.isa, sizeof row.isa, "%s", op->peer ? "" : ql_ctx_isa_name(s->ctx[threads]));
  weights_name(w, &row);
  return row;
}

/* The row of the floating-point weights that this one stands against; NULL: not measured. */
static const qbench_row *original_of(const qbench_state *s, const qbench_row *row)
{
  if (s->config->original == QL_DTYPE_NONE)
    return NULL;
  const char *name = dtype_name(s->config->original);
  for (size_t i = 0; i < s->result->count; i++) {
    const qbench_row *r = &s->result->rows[i];
    if (strcmp(r->op, name) == 0 && r->m == row->m && r->n == row->n && r->k == row->k &&
        r->threads == row->threads && r->cold == row->cold && r->seconds > 0)
      return r;
  }
  return NULL;
}

static void compare(const qbench_state *s, qbench_row *row)
{
  const qbench_row *original = original_of(s, row);
  if (original == NULL)
    return;
  row->size_ratio = row->weight_bytes / original->weight_bytes;
  row->speed_ratio = original->seconds / row->seconds;
}

static int measure(qbench_state *s, product *p, qbench_row *row)
{
  const qbench_config *c = s->config;
  const qbench_work work = {multiply, p, c->seconds, c->stopped};
  const ql_dtype act = p->peer != NULL ? QL_DTYPE_F32 : c->act;
  activations(p->x, act, p->m * row->k);
  ql_tensor_init_2d(&p->tx, p->x, act, p->m, row->k);
  ql_tensor_init_2d(&p->ty, p->y, act, p->m, row->n);
  if (p->peer != NULL) {
    p->peer->threads(row->threads);
    snprintf(row->kernel, sizeof row->kernel, "%s", p->peer->kernel());
  } else {
    const char *kernel = ql_gemm_query(p->ctx, p->w->packed[0], p->m, &p->options);
    snprintf(row->kernel, sizeof row->kernel, "%s", kernel == NULL ? "" : kernel);
    if (ql_gemm_workspace(p->ctx, p->w->packed[0], p->m, &p->options,
                          &p->options.workspace_bytes) == QL_STATUS_OK &&
        p->options.workspace_bytes > 0)
      p->options.workspace = qbench_pages(p->options.workspace_bytes);
  }
  if (p->options.workspace == NULL)
    p->options.workspace_bytes = 0;
  const int failed = qbench_time(&work, row);
  qbench_pages_free(p->options.workspace, p->options.workspace_bytes);
  return failed;
}

/* One row: a number of rows of activations, a number of threads, cold or hot. */
static int product_row(qbench_state *s, const weights *w, const qbench_op *op, size_t m,
                       size_t threads, int cold)
{
  product p = {.ctx = s->ctx[threads], .w = w, .m = m, .copies = cold ? w->copies : 1};
  const qbench_row like = describe(s, w, op, m, threads, cold);
  const ql_error no_error = QL_ERROR_INIT;
  const ql_gemm_options options = QL_GEMM_OPTIONS_INIT;
  const ql_act_config act = QL_ACT_CONFIG_INIT;
  qbench_row *row = qbench_add_row(s, &like);
  if (row == NULL)
    return -1;
  p.peer = op->peer ? s->config->peer : NULL;
  p.error = no_error;
  p.options = options;
  p.options.compute = op->compute;
  p.act = act;
  p.act.mode = op->act;
  if (op->compute == QL_COMPUTE_A8)
    p.options.act = &p.act;
  p.x = malloc((m * like.k + 16) * sizeof *p.x);
  p.y = calloc(m * like.n + 16, sizeof *p.y);
  if (w->copies == 0)
    snprintf(row->missing, sizeof row->missing, "%s", w->missing);
  else if (cold && w->copies * w->bytes < s->config->cold_bytes)
    snprintf(
        row->missing, sizeof row->missing,
        "%zu copies of the weights are not enough for cold calls, and there is no room for more",
        w->copies);
  else if (p.x == NULL || p.y == NULL)
    snprintf(row->missing, sizeof row->missing, "no memory");
  else if (measure(s, &p, row) != 0)
    snprintf(row->missing, sizeof row->missing, "%s: %.120s", ql_status_str(p.status),
             p.error.text);
  else
    compare(s, row);
  free(p.x);
  free(p.y);
  qbench_tell(s, row);
  return s->config->stopped != NULL && s->config->stopped() ? -1 : 0;
}

/* All rows of one op with weights that are ready. */
static int op_rows(qbench_state *s, const weights *w, const qbench_op *op)
{
  const qbench_config *c = s->config;
  for (size_t t = 0; t < s->result->thread_count; t++)
    for (size_t i = 0; i < c->m_count; i++)
      for (int cold = 1; cold >= 0; cold--)
        if ((cold ? c->cold : c->hot) && !(cold && c->quick && c->m[i] != 1) &&
            product_row(s, w, op, c->m[i], t, cold) != 0)
          return -1;
  return 0;
}

static int wanted(const qbench_config *c, const qbench_op *op)
{
  if (op->peer && c->peer == NULL)
    return 0;
  if (!(c->computes & 1u << op->compute) && op->bits != 0)
    return 0;
  return c->ops == NULL && c->quick ? op->quick : qbench_selected(c->ops, op->op);
}

static int same_weights(const qbench_op *a, const qbench_op *b)
{
  return strcmp(a->format, b->format) == 0 && a->group == b->group && a->peer == b->peer;
}

static int is_original(const qbench_config *c, const qbench_op *op)
{
  return c->original != QL_DTYPE_NONE && !op->peer && op->bits == 0 && op->dtype == c->original;
}

/* The ops from first on that share its weights; *next is the one after. */
static int weights_rows(qbench_state *s, qbench_shape shape, size_t first, size_t *next)
{
  const qbench_op *op = &qbench_ops[first];
  weights *w = NULL;
  int code = 0;
  size_t i = first;
  for (; code == 0 && i < qbench_op_count && same_weights(op, &qbench_ops[i]); i++) {
    if (!wanted(s->config, &qbench_ops[i]) && !is_original(s->config, &qbench_ops[i]))
      continue;
    if (w == NULL) {
      w = weights_make(s, op, shape, group_of(s->config, op, shape));
      code = w == NULL ? qbench_fail(s->config, "no memory") : 0;
      qbench_measure_limits(s, 1); /* a shared machine is not equally fast all the time */
    }
    if (code == 0)
      code = op_rows(s, w, &qbench_ops[i]);
  }
  if (w != NULL)
    weights_free(w);
  *next = i;
  return code;
}

int qbench_products(qbench_state *s, qbench_shape shape)
{
  size_t next, any = 0;
  int code = 0;
  for (size_t i = 0; i < qbench_op_count; i++)
    any += (size_t)wanted(s->config, &qbench_ops[i]);
  /* The original comes first: the others refer to it. */
  for (size_t i = 0; any > 0 && code == 0 && i < qbench_op_count; i++)
    if (is_original(s->config, &qbench_ops[i]))
      code = weights_rows(s, shape, i, &next);
  for (size_t i = 0; code == 0 && i < qbench_op_count; i = next) {
    next = i + 1;
    if (!is_original(s->config, &qbench_ops[i]))
      code = weights_rows(s, shape, i, &next);
  }
  return code;
}
