/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "qbench_internal.h"

#include <stdlib.h>

/* Samples: at least ENOUGH, unless a call takes so long that FEW are what the time allows. A call
 * shorter than SHORT is timed together with others: the clock itself takes some 20 ns. */
enum { ENOUGH = 15, FEW = 5, LONG_FEW = 3, MOST = 4096 };
#define SHORT 20e-6
#define LONG 1.0

static int by_value(const void *a, const void *b)
{
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Seconds of one of `calls` calls; negative: it failed. */
static double sample(const qbench_work *work, size_t calls)
{
  const double start = qbench_now();
  for (size_t i = 0; i < calls; i++)
    if (work->run(work->arg) != 0)
      return -1;
  return (qbench_now() - start) / (double)calls;
}

static size_t wanted(const qbench_work *work, double each)
{
  if (each >= LONG)
    return LONG_FEW;
  return each * ENOUGH > 2 * work->seconds ? FEW : ENOUGH;
}

/* The median of an even number of sorted values is the mean of the middle ones. */
static double median(const double *sorted, size_t count)
{
  return 0.5 * (sorted[(count - 1) / 2] + sorted[count / 2]);
}

static void summarize(double *times, size_t count, qbench_row *row)
{
  qsort(times, count, sizeof *times, by_value);
  row->seconds = median(times, count);
  row->least = times[0];
  row->quarter = times[count / 4];
  row->three_quarters = times[count - 1 - count / 4];
}

int qbench_time(const qbench_work *work, qbench_row *row)
{
  double times[MOST], last = sample(work, 1); /* the first brings memory and tables in */
  size_t count = 0;
  if (last >= 0 && last < LONG)
    last = sample(work, 1);
  if (last < 0)
    return -1;
  const size_t batch = last >= SHORT ? 1 : 1 + (size_t)(SHORT / (last + 1e-9));
  const size_t enough = wanted(work, last);
  const double joules = qbench_joules(), start = qbench_now();
  while (count < MOST && (count < enough || qbench_now() - start < work->seconds)) {
    times[count] = sample(work, batch);
    if (times[count++] < 0)
      return -1;
    if (work->stopped != NULL && work->stopped())
      break;
  }
  const double used = qbench_joules() - joules;
  row->calls = count * batch;
  row->joules = joules < 0 || used < 0 ? -1 : used / (double)row->calls;
  summarize(times, count, row);
  return 0;
}
