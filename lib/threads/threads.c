/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include <quantlib/threads.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

/* Waiting begins with so many looks at the state: the parts of a decoding step follow each other in
 * microseconds, and to put a thread to sleep and wake it takes tens of them. */
enum { LOOKS = 2000 };

/* The state of a pool is one word: the number of the current job, whether it is closed (no worker
 * may join it any more), and how many workers but the caller are in it. */
#define CLOSED ((uint64_t)1 << 31)
#define INSIDE (CLOSED - 1)
#define JOB(state) ((state) >> 32)

enum { LINE = 64 };

struct ql_threads {
  size_t workers; /* the caller included */
  pthread_t *threads;
  pthread_mutex_t turn; /* held by the thread whose parallel_for runs */
  pthread_mutex_t lock; /* to sleep and to wake */
  pthread_cond_t wake, idle;
  int stop;             /* under the lock */
  atomic_uint sleepers; /* changed under the lock */
  ql_task task;         /* of the current job: constant while somebody is inside */
  void *arg;
  size_t count;
  /* Lines of their own: these change all the time. */
  char before[LINE];
  _Atomic uint64_t state;
  char between[LINE];
  atomic_size_t next;
  char after[LINE];
};

typedef struct {
  ql_threads *pool;
  size_t worker;
} start;

static inline void relax(void)
{
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb");
#endif
}

static void work(ql_threads *pool, size_t worker)
{
  for (;;) {
    const size_t i = atomic_fetch_add(&pool->next, 1);
    if (i >= pool->count)
      return;
    pool->task(pool->arg, i, worker);
  }
}

/* Enters the current job unless it is the one that was seen last; *seen is the current one. */
static int join(ql_threads *pool, uint64_t *seen)
{
  uint64_t state = atomic_load(&pool->state);
  while (JOB(state) != *seen && !(state & CLOSED)) {
    if (!atomic_compare_exchange_weak(&pool->state, &state, state + 1))
      continue;
    *seen = JOB(state);
    return 1;
  }
  *seen = JOB(state);
  return 0;
}

/* The last one to leave a closed job wakes its caller, who may sleep. */
static void leave(ql_threads *pool)
{
  const uint64_t state = atomic_fetch_sub(&pool->state, 1) - 1;
  if ((state & INSIDE) != 0 || !(state & CLOSED))
    return;
  pthread_mutex_lock(&pool->lock);
  pthread_cond_signal(&pool->idle);
  pthread_mutex_unlock(&pool->lock);
}

/* Sleeps until there is another job than the one that was seen; 0: the pool ends. A caller that
 * does not see the sleeper has changed the state before the sleeper looks at it. */
static int sleep_for_job(ql_threads *pool, uint64_t seen)
{
  pthread_mutex_lock(&pool->lock);
  atomic_fetch_add(&pool->sleepers, 1);
  while (!pool->stop && JOB(atomic_load(&pool->state)) == seen)
    pthread_cond_wait(&pool->wake, &pool->lock);
  atomic_fetch_sub(&pool->sleepers, 1);
  const int go_on = !pool->stop;
  pthread_mutex_unlock(&pool->lock);
  return go_on;
}

static void *thread_main(void *arg)
{
  const start s = *(start *)arg;
  free(arg);
  uint64_t seen = 0;
  do {
    for (int look = 0; look < LOOKS; look++) {
      if (join(s.pool, &seen)) {
        work(s.pool, s.worker);
        leave(s.pool);
        look = 0;
      }
      relax();
    }
  } while (sleep_for_job(s.pool, seen));
  return NULL;
}

static void publish(ql_threads *pool, size_t count, ql_task task, void *arg)
{
  pool->task = task;
  pool->arg = arg;
  pool->count = count;
  atomic_store(&pool->next, 0);
  const uint64_t job = JOB(atomic_load(&pool->state)) + 1;
  atomic_store(&pool->state, job << 32);
  if (atomic_load(&pool->sleepers) == 0)
    return;
  pthread_mutex_lock(&pool->lock);
  pthread_cond_broadcast(&pool->wake);
  pthread_mutex_unlock(&pool->lock);
}

/* Waits for those inside only: a worker that has not woken yet has nothing left to do. */
static void close_job(ql_threads *pool)
{
  uint64_t state = atomic_fetch_or(&pool->state, CLOSED);
  for (int look = 0; look < LOOKS && (state & INSIDE) != 0; look++) {
    relax();
    state = atomic_load(&pool->state);
  }
  if ((state & INSIDE) == 0)
    return;
  pthread_mutex_lock(&pool->lock);
  while ((atomic_load(&pool->state) & INSIDE) != 0)
    pthread_cond_wait(&pool->idle, &pool->lock);
  pthread_mutex_unlock(&pool->lock);
}

static void parallel_for(void *user, size_t count, ql_task task, void *arg)
{
  ql_threads *pool = user;
  if (pool->workers == 1 || count < 2) {
    for (size_t i = 0; i < count; i++)
      task(arg, i, 0);
    return;
  }
  pthread_mutex_lock(&pool->turn);
  publish(pool, count, task, arg);
  work(pool, 0);
  close_job(pool);
  pthread_mutex_unlock(&pool->turn);
}

size_t ql_threads_available(void)
{
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0)
    return 1;
  const int n = CPU_COUNT(&set);
  return n > 0 ? (size_t)n : 1;
}

/* Starts one more thread; 0 when the system refuses. */
static int add_thread(ql_threads *pool)
{
  start *s = malloc(sizeof *s);
  if (s == NULL)
    return 0;
  *s = (start){pool, pool->workers};
  if (pthread_create(&pool->threads[pool->workers - 1], NULL, thread_main, s) != 0) {
    free(s);
    return 0;
  }
  pool->workers++;
  return 1;
}

ql_status ql_threads_create(size_t workers, ql_threads **out)
{
  if (out == NULL)
    return QL_STATUS_INVALID_ARGUMENT;
  if (workers == 0)
    workers = ql_threads_available();
  ql_threads *pool = calloc(1, sizeof *pool);
  pthread_t *threads = calloc(workers, sizeof *threads);
  if (pool == NULL || threads == NULL) {
    free(pool);
    free(threads);
    return QL_STATUS_NO_MEMORY;
  }
  pool->threads = threads;
  pool->workers = 1;
  atomic_init(&pool->state, CLOSED);
  pthread_mutex_init(&pool->turn, NULL);
  pthread_mutex_init(&pool->lock, NULL);
  pthread_cond_init(&pool->wake, NULL);
  pthread_cond_init(&pool->idle, NULL);
  while (pool->workers < workers && add_thread(pool))
    ;
  *out = pool;
  return QL_STATUS_OK;
}

ql_executor ql_threads_executor(ql_threads *pool)
{
  return (ql_executor){pool, pool->workers, parallel_for};
}

void ql_threads_destroy(ql_threads *pool)
{
  if (pool == NULL)
    return;
  pthread_mutex_lock(&pool->lock);
  pool->stop = 1;
  pthread_cond_broadcast(&pool->wake);
  pthread_mutex_unlock(&pool->lock);
  for (size_t i = 0; i + 1 < pool->workers; i++)
    pthread_join(pool->threads[i], NULL);
  pthread_mutex_destroy(&pool->turn);
  pthread_mutex_destroy(&pool->lock);
  pthread_cond_destroy(&pool->wake);
  pthread_cond_destroy(&pool->idle);
  free(pool->threads);
  free(pool);
}
