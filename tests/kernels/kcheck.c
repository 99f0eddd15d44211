/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "kcheck.h"

#include "fpenv.h"

#include <fnmatch.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { PATTERN = 0xa5, CANARY = 192 };

/* Signals of a kernel. One thread runs them, so one place to come back to suffices. */
static sigjmp_buf recover;
static volatile sig_atomic_t armed;

static void on_signal(int number)
{
  if (!armed) {
    signal(number, SIG_DFL);
    raise(number);
    return;
  }
  armed = 0;
  siglongjmp(recover, number);
}

static void install_handlers(void)
{
  static const int numbers[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = on_signal;
  action.sa_flags = SA_NODEFER;
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
    sigaction(numbers[i], &action, NULL);
}

static uint64_t mix(uint64_t x)
{
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

uint64_t kc_u64(kc *k)
{
  return mix(k->state++);
}

size_t kc_below(kc *k, size_t n)
{
  return n ? (size_t)(kc_u64(k) % n) : 0;
}

double kc_unit(kc *k)
{
  return (double)(kc_u64(k) >> 11) * 0x1p-53;
}

bool kc_wants(kc *k, const char *kernel, const void *slot, const void *below, size_t size)
{
  install_handlers();
  if (below != NULL && memcmp(slot, below, size) == 0)
    return false;
  if (k->kernel_glob != NULL && fnmatch(k->kernel_glob, kernel, 0) != 0)
    return false;
  k->kernel = kernel;
  k->kernels++;
  if (k->list)
    printf("%-12s %s\n", k->isa, kernel);
  return !k->list;
}

static uint64_t hash_text(const char *text)
{
  uint64_t h = 0;
  for (; *text != '\0'; text++)
    h = mix(h ^ (unsigned char)*text);
  return h;
}

void kc_begin(kc *k, uint64_t number, const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(k->shape, sizeof k->shape, format, arguments);
  va_end(arguments);
  k->case_seed = mix(k->seed ^ hash_text(k->kernel) ^ hash_text(k->shape)) ^ number;
  k->state = k->case_seed;
  k->at_end = !k->at_end;
  k->case_failed = false;
  k->cases++;
}

static bool holds_pattern(const unsigned char *from, const unsigned char *to)
{
  for (; from < to; from++)
    if (*from != PATTERN)
      return false;
  return true;
}

void kc_end(kc *k)
{
  for (size_t i = 0; i < k->buffers; i++) {
    const kc_buffer *b = &k->buffer[i];
    if (!holds_pattern(b->first, b->data))
      kc_fail(k, "wrote before buffer %zu", i);
    if (!holds_pattern(b->data + b->bytes, b->last))
      kc_fail(k, "wrote past the end of buffer %zu", i);
    munmap(b->map, b->map_bytes);
  }
  k->buffers = 0;
}

void *kc_memory(kc *k, size_t bytes, size_t align)
{
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  const size_t room = (bytes + 2 * CANARY + page - 1) / page * page;
  kc_buffer *b = &k->buffer[k->buffers++];
  if (k->buffers > KC_BUFFERS)
    abort();
  b->map_bytes = room + 2 * page;
  b->map = mmap(NULL, b->map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (b->map == MAP_FAILED)
    abort();
  unsigned char *low = (unsigned char *)b->map + page, *high = low + room;
  if (mprotect(low, room, PROT_READ | PROT_WRITE) != 0)
    abort();
  b->data = k->at_end ? high - bytes : low;
  while ((uintptr_t)b->data % align != 0)
    b->data--;
  b->bytes = bytes;
  b->first = (size_t)(b->data - low) > CANARY ? b->data - CANARY : low;
  b->last = (size_t)(high - b->data) > bytes + CANARY ? b->data + bytes + CANARY : high;
  memset(b->first, PATTERN, (size_t)(b->last - b->first));
  return b->data;
}

bool kc_run(kc *k, void (*call)(void *), void *arg)
{
#if defined(__x86_64__)
  const uint64_t before = _mm_getcsr() & 0xffc0u;
#elif defined(__aarch64__)
  const uint64_t before = qli_read_fpcr();
#endif
  const int number = sigsetjmp(recover, 1);
  if (number != 0) {
    kc_fail(k, "signal %d (%s)", number, strsignal(number));
    return false;
  }
  armed = 1;
  call(arg);
  armed = 0;
#if defined(__x86_64__)
  const uint64_t after = _mm_getcsr() & 0xffc0u;
  _mm_setcsr((unsigned)before);
#elif defined(__aarch64__)
  const uint64_t after = qli_read_fpcr();
#endif
  if (after != before)
    kc_fail(k, "changed the floating-point environment from %llx to %llx",
            (unsigned long long)before, (unsigned long long)after);
  return true;
}

void kc_fail(kc *k, const char *format, ...)
{
  va_list arguments;
  if (!k->case_failed)
    k->failures++;
  if (!k->quiet && !k->case_failed && k->failures <= 20) {
    fprintf(stderr, "FAIL %s %s, %s, seed 0x%llx, buffers at the %s of a page: ", k->isa, k->kernel,
            k->shape, (unsigned long long)k->seed, k->at_end ? "end" : "start");
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
  }
  k->case_failed = true;
}

static uint32_t bits_of(float f)
{
  uint32_t u;
  memcpy(&u, &f, sizeof u);
  return u;
}

static void check_gaps(kc *k, const float *got, size_t rows, size_t width, size_t stride)
{
  for (size_t i = 0; i + 1 < rows; i++)
    if (!holds_pattern((const unsigned char *)(got + i * stride + width),
                       (const unsigned char *)(got + (i + 1) * stride)))
      kc_fail(k, "wrote between rows %zu and %zu", i, i + 1);
}

void kc_same_f32(kc *k, const float *got, const float *want, size_t rows, size_t width,
                 size_t stride)
{
  check_gaps(k, got, rows, width, stride);
  for (size_t i = 0; i < rows; i++)
    for (size_t j = 0; j < width; j++) {
      const float a = got[i * stride + j], b = want[i * width + j];
      if (bits_of(a) == bits_of(b) || (isnan(a) && isnan(b)))
        continue;
      kc_fail(k, "first bad element (%zu, %zu): got %a (0x%08x), want %a (0x%08x)", i, j, (double)a,
              (unsigned)bits_of(a), (double)b, (unsigned)bits_of(b));
      return;
    }
}

void kc_same_bytes(kc *k, const void *got, const void *want, size_t bytes)
{
  const unsigned char *a = got, *b = want;
  for (size_t i = 0; i < bytes; i++)
    if (a[i] != b[i]) {
      kc_fail(k, "first bad byte %zu of %zu: got %02x, want %02x", i, bytes, a[i], b[i]);
      return;
    }
}

static bool acceptable(float got, double want, double bound)
{
  if (isnan(want))
    return isnan(got);
  if (isinf(want))
    return (double)got == want;
  return fabs((double)got - want) <= bound;
}

void kc_within(kc *k, const float *got, const double *want, const double *bound, size_t rows,
               size_t width, size_t stride)
{
  check_gaps(k, got, rows, width, stride);
  for (size_t i = 0; i < rows; i++)
    for (size_t j = 0; j < width; j++) {
      const size_t at = i * width + j;
      if (acceptable(got[i * stride + j], want[at], bound[at]))
        continue;
      kc_fail(k, "first bad element (%zu, %zu): got %.9g, want %.17g, bound %.3g", i, j,
              (double)got[i * stride + j], want[at], bound[at]);
      return;
    }
}

const char *kc_kind_name(int kind)
{
  static const char *const names[KC_KINDS] = {"uniform", "normal",  "powers", "extreme",
                                              "cancel",  "outlier", "special"};
  return names[kind];
}

static float extreme_value(kc *k)
{
  static const float values[] = {0.0f, -0.0f,     0x1p-149f, -0x1p-126f, 0x1.fffffep-127f,
                                 1.0f, -0x1p-60f, 0x1p60f,   -0x1p80f,   0x1.8p-140f};
  return values[kc_below(k, sizeof values / sizeof values[0])];
}

static float special_value(kc *k)
{
  static const float values[] = {INFINITY, -INFINITY, NAN};
  return kc_below(k, 24) ? (float)(kc_unit(k) - 0.5) : values[kc_below(k, 3)];
}

static float value_of(kc *k, int kind, size_t i, float last)
{
  const double u = kc_unit(k);
  switch (kind) {
  case KC_NORMAL: {
    double sum = -6;
    for (int t = 0; t < 12; t++)
      sum += kc_unit(k);
    return (float)sum;
  }
  case KC_POWERS: return ldexpf(u < 0.5 ? -1.0f : 1.0f, (int)kc_below(k, 4) - 2);
  case KC_EXTREME: return extreme_value(k);
  case KC_CANCEL: return i % 2 ? -last * (1.0f + 0x1p-20f) : (float)(u + 1.0);
  case KC_OUTLIER: return (float)(u - 0.5) * (kc_below(k, 16) ? 1.0f : 0x1p14f);
  case KC_SPECIAL: return special_value(k);
  default: return (float)(2 * u - 1);
  }
}

void kc_fill(kc *k, int kind, float *x, size_t n)
{
  float last = 1;
  for (size_t i = 0; i < n; i++)
    x[i] = last = value_of(k, kind, i, last);
}

static double now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

double kc_time(void (*call)(void *), void *arg)
{
  enum { BATCHES = 9 };
  double ns[BATCHES];
  size_t calls = 1;
  for (;;) {
    const double start = now();
    for (size_t i = 0; i < calls; i++)
      call(arg);
    if (now() - start > 1e6)
      break;
    calls *= 2;
  }
  for (size_t b = 0; b < BATCHES; b++) {
    const double start = now();
    for (size_t i = 0; i < calls; i++)
      call(arg);
    ns[b] = (now() - start) / (double)calls;
  }
  qsort(ns, BATCHES, sizeof ns[0], by_value);
  return ns[BATCHES / 2];
}

void kc_bench_line(kc *k, double ns, double flops, double bytes)
{
  printf("%-8s %-36s %-34s %10.1f ns %8.2f Gop/s %8.2f GB/s\n", k->isa, k->kernel, k->shape, ns,
         flops / ns, bytes / ns);
}
