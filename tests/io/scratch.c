/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "scratch.h"

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[512];

static void fail(const char *what, const char *path)
{
  perror(what);
  fprintf(stderr, "%s\n", path);
  exit(1);
}

const char *scratch_dir(void)
{
  if (directory[0] == '\0') {
    /* Memory before disk: the tests sync thousands of times. */
    const char *base = getenv("TMPDIR");
    if (base == NULL)
      base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : P_tmpdir;
    snprintf(directory, sizeof directory, "%s/ql-test-XXXXXX", base);
    if (mkdtemp(directory) == NULL)
      fail("mkdtemp", directory);
  }
  return directory;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
  (void)st;
  (void)type;
  (void)ftw;
  return remove(path);
}

void remove_tree(const char *path)
{
  nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void scratch_remove(void)
{
  if (directory[0] != '\0')
    remove_tree(directory);
  directory[0] = '\0';
}

const char *scratch_path(const char *name)
{
  static char paths[8][1024];
  static unsigned turn;
  char *path = paths[turn++ % 8];
  snprintf(path, sizeof paths[0], "%s/%s", scratch_dir(), name);
  return path;
}

void write_bytes(const char *path, const void *bytes, size_t size)
{
  FILE *f = fopen(path, "wb");
  if (f == NULL || fwrite(bytes, 1, size, f) != size || fclose(f) != 0)
    fail("write", path);
}

unsigned char *read_bytes(const char *path, size_t *size)
{
  FILE *f = fopen(path, "rb");
  if (f == NULL)
    return NULL;
  fseek(f, 0, SEEK_END);
  *size = (size_t)ftell(f);
  rewind(f);
  unsigned char *bytes = malloc(*size + 1);
  if (bytes == NULL || fread(bytes, 1, *size, f) != *size)
    fail("read", path);
  bytes[*size] = 0;
  fclose(f);
  return bytes;
}

void write_st_length(const char *path, uint64_t length, const char *header, size_t header_bytes,
                     size_t data_bytes)
{
  const size_t size = 8 + header_bytes + data_bytes;
  unsigned char *bytes = malloc(size);
  if (bytes == NULL)
    fail("malloc", path);
  for (int i = 0; i < 8; i++)
    bytes[i] = (unsigned char)(length >> 8 * i);
  memcpy(bytes + 8, header, header_bytes);
  for (size_t i = 0; i < data_bytes; i++)
    bytes[8 + header_bytes + i] = (unsigned char)i;
  write_bytes(path, bytes, size);
  free(bytes);
}

void write_st(const char *path, const char *header, size_t data_bytes)
{
  write_st_length(path, strlen(header), header, strlen(header), data_bytes);
}

int count_entries(const char *path)
{
  DIR *d = opendir(path);
  if (d == NULL)
    return -1;
  int n = 0;
  for (const struct dirent *e; (e = readdir(d)) != NULL;)
    n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
  closedir(d);
  return n;
}
