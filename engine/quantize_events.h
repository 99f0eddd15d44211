/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLE_QUANTIZE_EVENTS_H
#define QLE_QUANTIZE_EVENTS_H

struct qle_layer_result;

/* What a long job tells while it runs. Each function may be NULL. Called from the thread that
 * started the job. */
typedef struct qle_events {
  void *user;
  int (*progress)(void *user, const char *phase, double fraction); /* non-zero cancels */
  void (*layer)(void *user, const struct qle_layer_result *layer); /* a layer is done */
  void (*warning)(void *user, const char *text);
} qle_events;

#endif
