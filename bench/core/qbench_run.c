/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "qbench_internal.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

int qbench_fail(qbench_config *c, const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(c->error, sizeof c->error, format, arguments);
  va_end(arguments);
  return -1;
}

qbench_row *qbench_add_row(qbench_state *s, const qbench_row *like)
{
  qbench_result *r = s->result;
  if (r->count == r->room) {
    const size_t room = r->room * 2 + 64;
    qbench_row *rows = realloc(r->rows, room * sizeof *rows);
    if (rows == NULL) {
      qbench_fail(s->config, "no memory");
      return NULL;
    }
    r->rows = rows;
    r->room = room;
  }
  r->rows[r->count] = *like;
  return &r->rows[r->count++];
}

void qbench_tell(const qbench_state *s, const qbench_row *row)
{
  char text[256];
  if (s->config->progress == NULL)
    return;
  snprintf(text, sizeof text, "%s %s %zu x %zu, m = %zu, %zu thread%s, %s", row->op, row->compute,
           row->n, row->k, row->m, row->threads, row->threads == 1 ? "" : "s",
           row->cold ? "cold" : "hot");
  s->config->progress(s->config->user, text);
}

static int open_contexts(qbench_state *s)
{
  qbench_result *r = s->result;
  r->roofs = calloc(r->thread_count, sizeof *r->roofs);
  if (r->roofs == NULL)
    return qbench_fail(s->config, "no memory");
  for (size_t i = 0; i < r->thread_count; i++) {
    ql_ctx_config config = QL_CTX_CONFIG_INIT;
    ql_error error = QL_ERROR_INIT;
    if (ql_threads_create(r->threads[i], &s->pools[i]) != QL_STATUS_OK)
      return qbench_fail(s->config, "cannot start %zu threads", r->threads[i]);
    config.isa = s->config->isa;
    config.flags = s->config->reproducible ? QL_CTX_REPRODUCIBLE : 0;
    config.executor = ql_threads_executor(s->pools[i]);
    if (ql_ctx_create(&config, &s->ctx[i], &error) != QL_STATUS_OK)
      return qbench_fail(s->config, "%.250s", error.text);
    if (s->packer == NULL || r->threads[i] > ql_ctx_workers(s->packer))
      s->packer = s->ctx[i];
  }
  snprintf(r->isa, sizeof r->isa, "%s", ql_ctx_isa_name(s->packer));
  return 0;
}

static void choose_threads(const qbench_config *c, qbench_result *r)
{
  r->thread_count = c->thread_count;
  memcpy(r->threads, c->threads, sizeof r->threads);
  if (r->thread_count > 0)
    return;
  r->threads[r->thread_count++] = 1;
  if (ql_threads_available() > 1)
    r->threads[r->thread_count++] = ql_threads_available();
}

void qbench_measure_limits(qbench_state *s, int tries)
{
  if (s->config->progress != NULL)
    s->config->progress(s->config->user, "limits of the machine");
  for (size_t i = 0; i < s->result->thread_count; i++)
    qbench_roofs_measure(s->ctx[i], &s->result->roofs[i], s->block, s->block_bytes, tries);
}

/* Half a GiB, and several times the last-level cache, unless memory is short. */
static int open_block(qbench_state *s)
{
  const size_t least = (size_t)512 << 20, caches = 4 * s->result->llc_bytes;
  const size_t room = qbench_memory_available() / 4, wanted = caches > least ? caches : least;
  s->block_bytes = room != 0 && room < wanted ? room : wanted;
  s->block = qbench_pages(s->block_bytes);
  return s->block != NULL
             ? 0
             : qbench_fail(s->config, "no memory to measure the machine's limits: %zu MiB",
                           s->block_bytes >> 20);
}

static int run(qbench_state *s)
{
  const qbench_config *c = s->config;
  if (open_contexts(s) != 0 || open_block(s) != 0)
    return -1;
  qbench_measure_limits(s, 2);
  for (size_t i = 0; i < c->shape_count; i++)
    if (qbench_products(s, c->shapes[i]) != 0 || qbench_others(s, c->shapes[i]) != 0)
      return -1;
  return 0;
}

int qbench_run(qbench_config *c, qbench_result *result)
{
  qbench_state s = {.config = c, .result = result};
  *result = (qbench_result){0};
  c->error[0] = '\0';
  qbench_processor(result->processor, sizeof result->processor);
  result->llc_bytes = qbench_cache_bytes(0);
  result->l2_bytes = qbench_cache_bytes(2);
  if (c->cold_bytes == 0)
    c->cold_bytes = result->llc_bytes != 0 ? 4 * result->llc_bytes : (size_t)256 << 20;
  choose_threads(c, result);
  const int code = run(&s);
  qbench_pages_free(s.block, s.block_bytes);
  for (size_t i = 0; i < result->thread_count; i++) {
    ql_ctx_destroy(s.ctx[i]);
    ql_threads_destroy(s.pools[i]);
  }
  return code;
}

void qbench_result_free(qbench_result *result)
{
  free(result->rows);
  free(result->roofs);
  *result = (qbench_result){0};
}
