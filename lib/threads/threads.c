/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include <quantlib/threads.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

struct ql_threads {
  size_t workers; /* the caller included */
  pthread_t *threads;
  pthread_mutex_t turn; /* held by the thread whose parallel_for runs */
  pthread_mutex_t lock; /* protects everything below but next */
  pthread_cond_t wake, idle;
  unsigned long round; /* number of the current job */
  size_t busy;
  int stop;
  ql_task task;
  void *arg;
  size_t count;
  atomic_size_t next;
};

typedef struct {
  ql_threads *pool;
  size_t worker;
} start;

static void work(ql_threads *pool, size_t worker)
{
  for (;;) {
    const size_t i = atomic_fetch_add(&pool->next, 1);
    if (i >= pool->count)
      return;
    pool->task(pool->arg, i, worker);
  }
}

static void *thread_main(void *arg)
{
  start s = *(start *)arg;
  free(arg);
  unsigned long seen = 0;
  pthread_mutex_lock(&s.pool->lock);
  for (;;) {
    while (!s.pool->stop && s.pool->round == seen)
      pthread_cond_wait(&s.pool->wake, &s.pool->lock);
    if (s.pool->stop)
      break;
    seen = s.pool->round;
    pthread_mutex_unlock(&s.pool->lock);
    work(s.pool, s.worker);
    pthread_mutex_lock(&s.pool->lock);
    if (--s.pool->busy == 0)
      pthread_cond_signal(&s.pool->idle);
  }
  pthread_mutex_unlock(&s.pool->lock);
  return NULL;
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
  pthread_mutex_lock(&pool->lock);
  pool->task = task;
  pool->arg = arg;
  pool->count = count;
  atomic_store(&pool->next, 0);
  pool->busy = pool->workers - 1;
  pool->round++;
  pthread_cond_broadcast(&pool->wake);
  pthread_mutex_unlock(&pool->lock);
  work(pool, 0);
  pthread_mutex_lock(&pool->lock);
  while (pool->busy != 0)
    pthread_cond_wait(&pool->idle, &pool->lock);
  pthread_mutex_unlock(&pool->lock);
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
