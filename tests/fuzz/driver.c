/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "driver.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* usage: driver [-n MUTATIONS] [-s SEED] [FILE...]
 * Without files: all seeds, then mutations of them. With files: those alone, to replay a finding.
 * An input that crashes is left in crash-input. */

enum { MAX_SIZE = 1 << 14 };

static uint64_t state;
static uint8_t input[MAX_SIZE];
static size_t input_size;

static uint32_t next(uint32_t below)
{
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return below ? (uint32_t)((state >> 32) % below) : 0;
}

static void keep_crash(int number)
{
  static const char name[] = "crash-input";
  FILE *f = fopen(name, "wb");
  if (f != NULL) {
    fwrite(input, 1, input_size, f);
    fclose(f);
  }
  signal(number, SIG_DFL);
  raise(number);
}

/* Copies, so that the sanitizer sees a read past the end. */
static void run(void)
{
  uint8_t *copy = malloc(input_size ? input_size : 1);
  if (copy == NULL)
    exit(2);
  memcpy(copy, input, input_size);
  LLVMFuzzerTestOneInput(copy, input_size);
  free(copy);
}

static void load_seed(size_t i)
{
  input_size = fuzz_seeds[i].size < MAX_SIZE ? fuzz_seeds[i].size : MAX_SIZE;
  memcpy(input, fuzz_seeds[i].bytes, input_size);
}

static void insert(size_t at, const void *bytes, size_t size)
{
  if (input_size + size > MAX_SIZE)
    return;
  memmove(input + at + size, input + at, input_size - at);
  memcpy(input + at, bytes, size);
  input_size += size;
}

static void erase(size_t at, size_t size)
{
  memmove(input + at, input + at + size, input_size - at - size);
  input_size -= size;
}

/* Puts another number, a near or a notorious one, in the place of the digits around a random place.
 */
static void change_number(void)
{
  static const char *const numbers[] = {"0",
                                        "1",
                                        "8",
                                        "-1",
                                        "-0",
                                        "1.0",
                                        "1e9",
                                        "00",
                                        "255",
                                        "65536",
                                        "2147483648",
                                        "4294967296",
                                        "9007199254740992",
                                        "9007199254740993",
                                        "9223372036854775807",
                                        "18446744073709551616"};
  size_t at = next((uint32_t)input_size);
  while (at < input_size && (input[at] < '0' || input[at] > '9'))
    at++;
  size_t end = at;
  while (end < input_size && input[end] >= '0' && input[end] <= '9')
    end++;
  char near[24];
  const char *number = numbers[next(sizeof numbers / sizeof numbers[0])];
  if (end > at && end - at < 9 && next(2) == 0) { /* a little more or less */
    memcpy(near, input + at, end - at);
    near[end - at] = '\0';
    snprintf(near, sizeof near, "%ld", strtol(near, NULL, 10) + (long)next(17) - 8);
    number = near;
  }
  erase(at, end - at);
  insert(at, number, strlen(number));
}

static void copy_part(void)
{
  uint8_t part[64];
  const size_t from = next((uint32_t)input_size);
  size_t size = 1 + next(sizeof part);
  size = size < input_size - from ? size : input_size - from;
  memcpy(part, input + from, size);
  insert(next((uint32_t)input_size), part, size);
}

static void splice(void)
{
  const fuzz_seed *other = &fuzz_seeds[next((uint32_t)fuzz_seed_count)];
  if (other->size == 0)
    return;
  const size_t from = next((uint32_t)other->size);
  size_t size = 1 + next(128);
  size = size < other->size - from ? size : other->size - from;
  insert(next((uint32_t)input_size), other->bytes + from, size);
}

static void mutate(void)
{
  static const char marks[] = "{}[]:,\"\\ \n0-/.\xff\x7f";
  if (input_size == 0) {
    splice();
    return;
  }
  const size_t at = next((uint32_t)input_size);
  const size_t rest = input_size - at;
  switch (next(8)) {
  case 0: input[at] ^= (uint8_t)(1u << next(8)); break;
  case 1: input[at] = (uint8_t)next(256); break;
  case 2: input[at] = (uint8_t)marks[next(sizeof marks)]; break;
  case 3: erase(at, 1 + next((uint32_t)(rest < 32 ? rest : 32))); break;
  case 4: insert(at, &marks[next(sizeof marks)], 1); break;
  case 5: copy_part(); break;
  case 6: splice(); break;
  default: change_number(); break;
  }
}

static void run_mutations(unsigned long count)
{
  for (unsigned long i = 0; i < count; i++) {
    load_seed(next((uint32_t)fuzz_seed_count));
    for (uint32_t k = 1 + next(4); k > 0; k--)
      mutate();
    if (next(4) != 0)
      fuzz_repair(input, input_size);
    run();
  }
}

static void run_file(const char *path)
{
  FILE *f = fopen(path, "rb");
  if (f == NULL) {
    perror(path);
    exit(2);
  }
  input_size = fread(input, 1, sizeof input, f);
  fclose(f);
  run();
}

int main(int argc, char **argv)
{
  unsigned long count = 20000;
  state = 1;
  for (int option; (option = getopt(argc, argv, "n:s:")) != -1;) {
    if (option == 'n')
      count = strtoul(optarg, NULL, 10);
    else if (option == 's')
      state = strtoull(optarg, NULL, 10) | 1;
    else
      return 2;
  }
  signal(SIGABRT, keep_crash);
  signal(SIGSEGV, keep_crash);
  signal(SIGFPE, keep_crash);
  if (optind < argc) {
    for (int i = optind; i < argc; i++)
      run_file(argv[i]);
    return 0;
  }
  for (size_t i = 0; i < fuzz_seed_count; i++) {
    load_seed(i);
    run();
  }
  run_mutations(count);
  printf("%zu seeds, %lu mutations\n", fuzz_seed_count, count);
  return 0;
}
