/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "../cm.h"
#include "../../lib/io/file.h"
#include "../../lib/io/writer.h"
#include "fault_os.h"
#include "scratch.h"

#include <quantlib/quantlib.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Every call to the operating system fails once, for good, or is the last one; every allocation
 * fails once. After each: an error that names a path, nothing under the final name that is not
 * complete, nothing left over, an old checkpoint still there. */

enum { MAX_POINTS = 10000 };

/* An allocator that counts, and whose allocation number fail_at fails. */
static size_t live_blocks, allocations, fail_at;

static void *counting_alloc(void *user, size_t size, size_t align)
{
  void *block = NULL;
  (void)user;
  if (allocations++ == fail_at || posix_memalign(&block, align, size) != 0)
    return NULL;
  live_blocks++;
  return block;
}

static void counting_free(void *user, void *block)
{
  (void)user;
  live_blocks--;
  free(block);
}

static ql_ctx *make_ctx(void)
{
  ql_ctx_config config = QL_CTX_CONFIG_INIT;
  ql_ctx *ctx = NULL;
  config.allocator = (ql_allocator){NULL, counting_alloc, counting_free};
  fail_at = SIZE_MAX;
  assert_int_equal(ql_ctx_create(&config, &ctx, NULL), QL_STATUS_OK);
  return ctx;
}

static ql_status declare_all(ql_writer *w, ql_error *error)
{
  static const char *const names[] = {"a", "b", "c"};
  const size_t shape[2] = {4, 8};
  for (int i = 0; i < 3; i++) {
    const ql_status status = ql_writer_declare(w, names[i], QL_DTYPE_U16, 2, shape, error);
    if (status != QL_STATUS_OK)
      return status;
  }
  return QL_STATUS_OK;
}

/* b is transposed in memory, so that both ways of writing are used. */
static ql_status put_all(ql_writer *w, uint16_t first, ql_error *error)
{
  static const char *const names[] = {"a", "b", "c"};
  uint16_t data[32];
  for (uint16_t i = 0; i < 32; i++)
    data[i] = (uint16_t)(first + i);
  for (int i = 0; i < 3; i++) {
    ql_tensor t;
    ql_tensor_init_2d(&t, data, QL_DTYPE_U16, 4, 8);
    if (i == 1) {
      t.stride[0] = 2;
      t.stride[1] = 8;
    }
    const ql_status status = ql_writer_put(w, names[i], &t, error);
    if (status != QL_STATUS_OK)
      return status;
  }
  return QL_STATUS_OK;
}

static ql_status write_all(ql_writer *w, uint16_t first, ql_error *error)
{
  ql_status status = declare_all(w, error);
  if (status == QL_STATUS_OK)
    status = ql_writer_put_file(w, "config.json", "{}\n", 3, error);
  if (status == QL_STATUS_OK)
    status = ql_writer_begin(w, error);
  if (status == QL_STATUS_OK)
    status = put_all(w, first, error);
  if (status == QL_STATUS_OK)
    status = ql_writer_finish(w, error);
  return status;
}

/* A whole checkpoint of two shards at dir whose values begin at first. */
static ql_status write_checkpoint(const ql_ctx *ctx, const qli_os *os, const char *dir,
                                  uint16_t first, int32_t overwrite, ql_error *error)
{
  ql_writer_config config = QL_WRITER_CONFIG_INIT;
  ql_writer *w = NULL;
  config.shard_bytes = 130;
  config.overwrite = overwrite;
  ql_status status = qli_writer_create(ctx, os, dir, &config, &w, error);
  if (status == QL_STATUS_OK)
    status = write_all(w, first, error);
  ql_writer_destroy(w);
  return status;
}

/* First value of a checkpoint whose every value is right, 0 when there is none. */
static uint16_t read_checkpoint(const ql_ctx *ctx, const char *dir)
{
  ql_file *f = NULL;
  ql_error error = QL_ERROR_INIT;
  uint16_t first = 0, value;
  if (access(dir, F_OK) != 0)
    return 0;
  if (ql_file_open(ctx, dir, &f, &error) != QL_STATUS_OK)
    fail_msg("what is there is not complete: %s", error.text);
  assert_int_equal(ql_file_count(f), 3);
  for (size_t i = 0; i < 3; i++) {
    ql_tensor t;
    assert_int_equal(ql_file_tensor(f, i, &t, &error), QL_STATUS_OK);
    if (i == 0)
      memcpy(&first, t.data, 2);
    for (size_t k = 0; k < 32; k++) {
      memcpy(&value, (const unsigned char *)t.data + 2 * k, 2);
      assert_int_equal(value, first + (i == 1 ? k % 8 * 4 + k / 8 : k));
    }
  }
  ql_file_close(f);
  assert_int_equal(count_entries(dir), 4); /* two shards, index, config.json */
  return first;
}

enum { OLD = 1000, NEW = 2000 };

static const char *target(void)
{
  return scratch_path("room/out");
}

static void prepare(const ql_ctx *ctx, int32_t overwrite)
{
  ql_error error = QL_ERROR_INIT;
  remove_tree(scratch_path("room"));
  assert_int_equal(mkdir(scratch_path("room"), 0777), 0);
  if (overwrite && write_checkpoint(ctx, &qli_os_system, target(), OLD, 0, &error) != QL_STATUS_OK)
    fail_msg("%s", error.text);
}

/* Whether something beside the target in the room is the whole old checkpoint. */
static bool other_directory_holds_old(const ql_ctx *ctx)
{
  bool found = false;
  DIR *room = opendir(scratch_path("room"));
  for (const struct dirent *e; (e = readdir(room)) != NULL;) {
    char path[600];
    snprintf(path, sizeof path, "room/%s", e->d_name);
    if (e->d_name[0] != '.' && strcmp(e->d_name, "out") != 0)
      found = found || read_checkpoint(ctx, scratch_path(path)) == OLD;
  }
  closedir(room);
  return found;
}

/* One run with one fault; false when the run was over before the fault came. */
static bool fault_point(const ql_ctx *ctx, enum fault_kind kind, unsigned at, int code,
                        int32_t overwrite)
{
  ql_error error = QL_ERROR_INIT;
  prepare(ctx, overwrite);
  const int descriptors = count_descriptors();
  const size_t blocks = live_blocks;
  fault_set(kind, at, code);
  const ql_status status = write_checkpoint(ctx, &fault_os, target(), NEW, overwrite, &error);
  const bool reached = fault_calls() > at;
  const uint16_t found = read_checkpoint(ctx, target());
  assert_int_equal(count_descriptors(), descriptors);
  assert_int_equal(live_blocks, blocks);
  if (status == QL_STATUS_OK) {
    /* What is closed after all is done may fail. */
    assert_true(!reached || strcmp(fault_name(), "close") == 0);
    assert_int_equal(found, NEW);
    assert_int_equal(count_entries(scratch_path("room")), 1);
    return reached;
  }
  assert_int_equal(error.status, status);
  assert_int_equal(status, QL_STATUS_IO);
  assert_int_equal(error.cause, code);
  if (strstr(error.text, scratch_dir()) == NULL)
    fail_msg("%s fails: \"%s\" names no path", fault_name(), error.text);
  if (kind == FAULT_ONCE) {
    assert_int_equal(found, overwrite ? OLD : 0);
    assert_int_equal(count_entries(scratch_path("room")), overwrite ? 1 : 0);
  } else if (overwrite) {
    assert_true(found == OLD || other_directory_holds_old(ctx)); /* never lost */
  }
  return true;
}

static void all_fault_points(enum fault_kind kind, int code, int32_t overwrite, unsigned least)
{
  ql_ctx *ctx = make_ctx();
  unsigned at = 0;
  while (at < MAX_POINTS && fault_point(ctx, kind, at, code, overwrite))
    at++;
  assert_true(at >= least && at < MAX_POINTS);
  ql_ctx_destroy(ctx);
  assert_int_equal(live_blocks, 0);
}

static void test_write_faults(void **state)
{
  (void)state;
  for (int32_t overwrite = 0; overwrite < 2; overwrite++) {
    all_fault_points(FAULT_ONCE, ENOSPC, overwrite, 30);
    all_fault_points(FAULT_ONCE, EIO, overwrite, 30);
    all_fault_points(FAULT_STICKY, EIO, overwrite, 30);
  }
}

static void test_write_faults_without_exchange(void **state)
{
  (void)state;
  fault_can_exchange = 0;
  all_fault_points(FAULT_ONCE, EIO, 1, 30);
  fault_can_exchange = 1;
}

/* With every call interrupted and cut into pieces the bytes are the same. */
static void test_piecemeal(void **state)
{
  (void)state;
  ql_ctx *ctx = make_ctx();
  ql_error error = QL_ERROR_INIT;
  ql_file *f = NULL;
  prepare(ctx, 0);
  fault_set(FAULT_PIECEMEAL, 0, 0);
  if (write_checkpoint(ctx, &fault_os, target(), NEW, 0, &error) != QL_STATUS_OK)
    fail_msg("%s", error.text);
  assert_true(fault_calls() > 100);
  assert_int_equal(read_checkpoint(ctx, target()), NEW);
  fault_set(FAULT_PIECEMEAL, 0, 0);
  if (qli_file_open(ctx, &fault_os, target(), &f, &error) != QL_STATUS_OK)
    fail_msg("%s", error.text);
  assert_true(fault_calls() > 100);
  ql_file_close(f);
  ql_ctx_destroy(ctx);
}

static void test_kill(void **state)
{
  (void)state;
  ql_ctx *ctx = make_ctx();
  for (int variant = 0; variant < 4; variant++) {
    const int32_t overwrite = variant & 1;
    const enum fault_kind kind = variant & 2 ? FAULT_KILL_AFTER : FAULT_KILL_BEFORE;
    bool killed = true;
    unsigned at = 0;
    for (; killed && at < MAX_POINTS; at++) {
      prepare(ctx, overwrite);
      const pid_t child = fork();
      if (child == 0) {
        fault_set(kind, at, 0);
        _exit(write_checkpoint(ctx, &fault_os, target(), NEW, overwrite, NULL));
      }
      int status = 0;
      assert_int_equal(waitpid(child, &status, 0), child);
      killed = WIFSIGNALED(status);
      const uint16_t found = read_checkpoint(ctx, target());
      if (!killed)
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0 && found == NEW);
      else if (overwrite)
        assert_true(found == OLD || found == NEW);
      else
        assert_true(found == 0 || found == NEW);
    }
    assert_true(at > 30 && at < MAX_POINTS);
  }
  ql_ctx_destroy(ctx);
}

static void test_read_faults(void **state)
{
  (void)state;
  static const int codes[] = {EIO, EACCES, EMFILE, ENOMEM};
  ql_ctx *ctx = make_ctx();
  prepare(ctx, 1);
  for (size_t c = 0; c < 4; c++) {
    bool reached = true;
    unsigned at = 0;
    for (; reached && at < MAX_POINTS; at++) {
      ql_file *f = NULL;
      ql_error error = QL_ERROR_INIT;
      const int descriptors = count_descriptors();
      const size_t blocks = live_blocks;
      fault_set(FAULT_ONCE, at, codes[c]);
      const ql_status status = qli_file_open(ctx, &fault_os, target(), &f, &error);
      reached = fault_calls() > at;
      ql_file_close(f);
      assert_int_equal(count_descriptors(), descriptors);
      assert_int_equal(live_blocks, blocks);
      if (!reached || strcmp(fault_name(), "close") == 0) {
        assert_int_equal(status, QL_STATUS_OK);
        continue;
      }
      assert_int_equal(status, QL_STATUS_IO);
      assert_null(f);
      assert_int_equal(error.cause, codes[c]);
      assert_non_null(strstr(error.text, "room/out"));
    }
    assert_true(at > 12 && at < MAX_POINTS);
  }
  ql_ctx_destroy(ctx);
}

static void test_allocations_when_writing(void **state)
{
  (void)state;
  ql_ctx *ctx = make_ctx();
  ql_status status = QL_STATUS_NO_MEMORY;
  size_t at = 0;
  for (; status != QL_STATUS_OK && at < MAX_POINTS; at++) {
    ql_error error = QL_ERROR_INIT;
    prepare(ctx, 1);
    const int descriptors = count_descriptors();
    allocations = 0;
    fail_at = at;
    status = write_checkpoint(ctx, &qli_os_system, target(), NEW, 1, &error);
    fail_at = SIZE_MAX;
    assert_true(status == QL_STATUS_OK || status == QL_STATUS_NO_MEMORY);
    assert_int_equal(error.status, status);
    assert_int_equal(live_blocks, 1); /* the context */
    assert_int_equal(count_descriptors(), descriptors);
    assert_int_equal(count_entries(scratch_path("room")), 1);
    assert_int_equal(read_checkpoint(ctx, target()), status == QL_STATUS_OK ? NEW : OLD);
  }
  assert_true(at > 15 && at < MAX_POINTS);
  ql_ctx_destroy(ctx);
}

static void test_allocations_when_reading(void **state)
{
  (void)state;
  ql_ctx *ctx = make_ctx();
  ql_status status = QL_STATUS_NO_MEMORY;
  size_t at = 0;
  prepare(ctx, 1);
  for (; status != QL_STATUS_OK && at < MAX_POINTS; at++) {
    ql_error error = QL_ERROR_INIT;
    ql_file *f = NULL;
    const int descriptors = count_descriptors();
    allocations = 0;
    fail_at = at;
    status = ql_file_open(ctx, target(), &f, &error);
    fail_at = SIZE_MAX;
    assert_true(status == QL_STATUS_OK || status == QL_STATUS_NO_MEMORY);
    assert_int_equal(error.status, status);
    assert_true((f != NULL) == (status == QL_STATUS_OK));
    ql_file_close(f);
    assert_int_equal(live_blocks, 1);
    assert_int_equal(count_descriptors(), descriptors);
  }
  assert_true(at > 12 && at < MAX_POINTS);
  ql_ctx_destroy(ctx);
}

/* After a disk that was full for a moment the same call may be made again. */
static void test_retry(void **state)
{
  (void)state;
  ql_ctx *ctx = make_ctx();
  for (unsigned at = 0; at < 6; at++) {
    ql_writer *w = NULL;
    ql_error error = QL_ERROR_INIT;
    prepare(ctx, 0);
    fault_set(FAULT_NONE, 0, 0);
    assert_int_equal(qli_writer_create(ctx, &fault_os, target(), NULL, &w, &error), QL_STATUS_OK);
    fault_set(FAULT_ONCE, at, ENOSPC);
    ql_status status = ql_writer_put_file(w, "x", "123", 3, &error);
    if (status != QL_STATUS_OK)
      status = ql_writer_put_file(w, "x", "123", 3, &error);
    assert_int_equal(status, QL_STATUS_OK);
    assert_int_equal(declare_all(w, &error), QL_STATUS_OK);
    fault_set(FAULT_ONCE, at, ENOSPC);
    status = ql_writer_begin(w, &error);
    if (status != QL_STATUS_OK)
      status = ql_writer_begin(w, &error);
    assert_int_equal(status, QL_STATUS_OK);
    fault_set(FAULT_ONCE, 0, ENOSPC);
    assert_int_equal(put_all(w, NEW, &error), QL_STATUS_IO);
    assert_string_equal(error.tensor, "a");
    assert_int_equal(put_all(w, NEW, &error), QL_STATUS_OK);
    assert_int_equal(ql_writer_finish(w, &error), QL_STATUS_OK);
    ql_writer_destroy(w);
    ql_file *f = NULL;
    assert_int_equal(ql_file_open(ctx, target(), &f, &error), QL_STATUS_OK);
    ql_file_close(f);
  }
  ql_ctx_destroy(ctx);
}

static int little_space(int fd, uint64_t *bytes)
{
  (void)fd;
  *bytes = 100;
  return 0;
}

static int no_reservation(int fd, off_t size)
{
  (void)fd;
  (void)size;
  errno = EOPNOTSUPP;
  return -1;
}

static void test_full_disk(void **state)
{
  (void)state;
  ql_ctx *ctx = make_ctx();
  ql_error error = QL_ERROR_INIT;
  qli_os os = qli_os_system;
  os.free_space = little_space;
  prepare(ctx, 0);
  assert_int_equal(write_checkpoint(ctx, &os, target(), NEW, 0, &error), QL_STATUS_IO);
  assert_int_equal(error.cause, ENOSPC);
  /* two headers of 8 + 152 and 8 + 88 bytes, three tensors of 64 */
  assert_non_null(strstr(error.text, "448 bytes are needed, 100 are free"));
  assert_int_equal(count_entries(scratch_path("room")), 0);
  os = qli_os_system;
  os.reserve = no_reservation;
  assert_int_equal(write_checkpoint(ctx, &os, target(), NEW, 0, &error), QL_STATUS_OK);
  assert_int_equal(read_checkpoint(ctx, target()), NEW);
  ql_ctx_destroy(ctx);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_write_faults),
      cmocka_unit_test(test_write_faults_without_exchange),
      cmocka_unit_test(test_piecemeal),
      cmocka_unit_test(test_kill),
      cmocka_unit_test(test_read_faults),
      cmocka_unit_test(test_allocations_when_writing),
      cmocka_unit_test(test_allocations_when_reading),
      cmocka_unit_test(test_full_disk),
      cmocka_unit_test(test_retry),
  };
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  scratch_remove();
  return failed;
}
