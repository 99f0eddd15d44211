/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "qbench_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

double qbench_now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void *qbench_pages(size_t bytes)
{
  void *block =
      mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (block == MAP_FAILED)
    return NULL;
  madvise(block, bytes, MADV_HUGEPAGE);
  memset(block, 1, bytes);
  return block;
}

void qbench_pages_free(void *block, size_t bytes)
{
  if (block != NULL)
    munmap(block, bytes);
}

void qbench_numbers(float *x, size_t count, float factor, uint64_t seed)
{
  uint64_t state = seed * 2862933555777941757u + 3037000493u;
  for (size_t i = 0; i < count; i++) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    /* the sum of four uniform numbers of 8 bits, less its mean, by its deviation */
    const int sum = (int)(state >> 56) + (int)(state >> 48 & 255) + (int)(state >> 40 & 255) +
                    (int)(state >> 32 & 255);
    x[i] = factor * ((float)sum - 510.0f) / 147.8f;
  }
}

/* First line of a file; 0 when there is none. */
static int read_line(const char *path, char *text, size_t size)
{
  FILE *file = fopen(path, "r");
  if (file == NULL)
    return 0;
  const int found = fgets(text, (int)size, file) != NULL;
  fclose(file);
  if (found)
    text[strcspn(text, "\n")] = '\0';
  return found;
}

/* What follows "name :" in /proc/cpuinfo. */
static int cpuinfo(const char *name, char *text, size_t size)
{
  char line[512];
  int found = 0;
  FILE *file = fopen("/proc/cpuinfo", "r");
  while (file != NULL && !found && fgets(line, sizeof line, file) != NULL) {
    const char *value = strchr(line, ':');
    if (value == NULL || strncmp(line, name, strlen(name)) != 0)
      continue;
    value += 1 + (value[1] == ' ');
    snprintf(text, size, "%.*s", (int)strcspn(value, "\n"), value);
    found = 1;
  }
  if (file != NULL)
    fclose(file);
  return found;
}

void qbench_processor(char *text, size_t size)
{
  char name[64], family[16] = "", model[16] = "";
  if (!cpuinfo("model name", name, sizeof name) && !cpuinfo("CPU part", name, sizeof name))
    snprintf(name, sizeof name, "unknown");
  if (cpuinfo("cpu family", family, sizeof family) && cpuinfo("model", model, sizeof model))
    snprintf(text, size, "%s, family %s model %s", name, family, model);
  else
    snprintf(text, size, "%s", name);
}

/* Level and bytes of /sys's i-th cache of the first processor; 0 when there is none. */
static size_t sys_cache(int i, int *level)
{
  char path[96], text[32];
  snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/level", i);
  if (!read_line(path, text, sizeof text))
    return 0;
  *level = atoi(text);
  snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", i);
  if (!read_line(path, text, sizeof text))
    return 0;
  char *unit;
  const size_t value = strtoul(text, &unit, 10);
  return *unit == 'M' ? value << 20 : *unit == 'K' ? value << 10 : value;
}

size_t qbench_cache_bytes(int level)
{
  size_t bytes = 0;
  int at = 0, found = 0;
  for (int i = 0; i < 16; i++) {
    const size_t size = sys_cache(i, &at);
    if (size == 0)
      break;
    if (level != 0 ? at == level && size > bytes : at > found || (at == found && size > bytes)) {
      bytes = size;
      found = at;
    }
  }
  return bytes;
}

size_t qbench_memory_available(void)
{
  char line[128];
  size_t kib = 0;
  FILE *file = fopen("/proc/meminfo", "r");
  while (file != NULL && fgets(line, sizeof line, file) != NULL)
    if (strncmp(line, "MemAvailable:", 13) == 0)
      kib = strtoul(line + 13, NULL, 10);
  if (file != NULL)
    fclose(file);
  return kib << 10;
}

double qbench_joules(void)
{
  double sum = -1;
  char path[96], text[32];
  for (int package = 0; package < 16; package++) {
    snprintf(path, sizeof path, "/sys/class/powercap/intel-rapl:%d/energy_uj", package);
    if (!read_line(path, text, sizeof text))
      break;
    sum = (sum < 0 ? 0 : sum) + strtod(text, NULL) * 1e-6;
  }
  return sum;
}
