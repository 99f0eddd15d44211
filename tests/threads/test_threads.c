/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "../cm.h"

#include <quantlib/threads.h>

#include <pthread.h>
#include <string.h>
#include <time.h>

enum { COUNT = 1000, WORKERS_MAX = 16 };

typedef struct {
  int runs[COUNT];
  int active[WORKERS_MAX];
  size_t workers;
  int collided;
} tally;

static void count_task(void *arg, size_t index, size_t worker)
{
  tally *t = arg;
  if (worker >= t->workers || __atomic_exchange_n(&t->active[worker], 1, __ATOMIC_ACQ_REL))
    __atomic_store_n(&t->collided, 1, __ATOMIC_RELAXED);
  t->runs[index]++;
  __atomic_store_n(&t->active[worker], 0, __ATOMIC_RELEASE);
}

static void check_pool(ql_threads *pool)
{
  const ql_executor e = ql_threads_executor(pool);
  static tally t;
  for (size_t count = 0; count <= COUNT; count = count * 2 + 1) {
    memset(&t, 0, sizeof t);
    t.workers = e.max_workers;
    e.parallel_for(e.user, count, count_task, &t);
    for (size_t i = 0; i < COUNT; i++)
      assert_int_equal(t.runs[i], i < count);
    assert_false(t.collided);
  }
}

static void test_every_index_once(void **state)
{
  (void)state;
  for (size_t workers = 1; workers <= 7; workers += 2) {
    ql_threads *pool = NULL;
    assert_int_equal(ql_threads_create(workers, &pool), QL_STATUS_OK);
    assert_int_equal(ql_threads_executor(pool).max_workers, workers);
    check_pool(pool);
    ql_threads_destroy(pool);
  }
  ql_threads_destroy(NULL);
  assert_int_equal(ql_threads_create(2, NULL), QL_STATUS_INVALID_ARGUMENT);
}

static void *use_pool(void *arg)
{
  const ql_executor e = ql_threads_executor(arg);
  long sum = 0;
  for (int round = 0; round < 200; round++) {
    tally *t = &(tally){.workers = e.max_workers};
    e.parallel_for(e.user, 50, count_task, t);
    for (int i = 0; i < 50; i++)
      sum += t->runs[i];
  }
  return (void *)sum;
}

/* Callers of one pool wait for each other. */
static void test_shared_by_callers(void **state)
{
  (void)state;
  ql_threads *pool = NULL;
  pthread_t callers[4];
  assert_int_equal(ql_threads_create(3, &pool), QL_STATUS_OK);
  for (int i = 0; i < 4; i++)
    assert_int_equal(pthread_create(&callers[i], NULL, use_pool, pool), 0);
  for (int i = 0; i < 4; i++) {
    void *sum = NULL;
    pthread_join(callers[i], &sum);
    assert_int_equal((long)sum, 200 * 50);
  }
  ql_threads_destroy(pool);
}

static void wait_us(long microseconds)
{
  const struct timespec time = {0, microseconds * 1000};
  nanosleep(&time, NULL);
}

/* Later tasks take longer: the caller is through before a worker is. */
static void slow_task(void *arg, size_t index, size_t worker)
{
  int *runs = arg;
  (void)worker;
  wait_us(400 * (long)index);
  __atomic_fetch_add(&runs[index], 1, __ATOMIC_RELAXED);
}

static void light_task(void *arg, size_t index, size_t worker)
{
  int *runs = arg;
  (void)worker;
  __atomic_fetch_add(&runs[index], 1, __ATOMIC_RELAXED);
}

/* Jobs that follow each other at once, whose workers still look for work, and after pauses in which
 * they fall asleep; jobs that are over before anybody wakes, and jobs that end in another thread.
 */
static void test_short_jobs(void **state)
{
  (void)state;
  ql_threads *pool = NULL;
  assert_int_equal(ql_threads_create(3, &pool), QL_STATUS_OK);
  const ql_executor e = ql_threads_executor(pool);
  for (int round = 0; round < 20000; round++) {
    int runs[4] = {0};
    const size_t count = 2 + (size_t)round % 3;
    e.parallel_for(e.user, count, round % 512 == 0 ? slow_task : light_task, runs);
    for (size_t i = 0; i < 4; i++)
      assert_int_equal(runs[i], i < count);
    if (round % 256 == 7)
      wait_us(500);
  }
  ql_threads_destroy(pool);
}

/* Each of two tasks ends when the other has begun: a thread that sleeps must have been woken. */
static void meet(void *arg, size_t index, size_t worker)
{
  int *arrived = arg;
  (void)index;
  (void)worker;
  __atomic_fetch_add(&arrived[0], 1, __ATOMIC_SEQ_CST);
  for (int i = 0; i < 20000 && __atomic_load_n(&arrived[0], __ATOMIC_SEQ_CST) < 2; i++)
    wait_us(100);
  if (__atomic_load_n(&arrived[0], __ATOMIC_SEQ_CST) == 2)
    __atomic_fetch_add(&arrived[1], 1, __ATOMIC_SEQ_CST);
}

static void test_sleepers_wake(void **state)
{
  (void)state;
  ql_threads *pool = NULL;
  assert_int_equal(ql_threads_create(2, &pool), QL_STATUS_OK);
  const ql_executor e = ql_threads_executor(pool);
  for (int round = 0; round < 20; round++) {
    int arrived[2] = {0};
    wait_us(5000);
    e.parallel_for(e.user, 2, meet, arrived);
    assert_int_equal(arrived[1], 2);
  }
  ql_threads_destroy(pool);
}

static void test_available(void **state)
{
  (void)state;
  ql_threads *pool = NULL;
  assert_true(ql_threads_available() >= 1);
  assert_int_equal(ql_threads_create(0, &pool), QL_STATUS_OK);
  assert_int_equal(ql_threads_executor(pool).max_workers, ql_threads_available());
  ql_threads_destroy(pool);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_index_once), cmocka_unit_test(test_shared_by_callers),
      cmocka_unit_test(test_short_jobs),       cmocka_unit_test(test_sleepers_wake),
      cmocka_unit_test(test_available),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
