/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "fs_dir.h"

#include "error.h"
#include "io_util.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
  bool empty, directories, checkpoint;
} contents;

static bool is_dots(const char *name)
{
  return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static bool marks_checkpoint(const char *name)
{
  static const char *const names[] = {QLI_IO_SINGLE_NAME, QLI_IO_INDEX_NAME, "config.json"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    if (strcmp(name, names[i]) == 0)
      return true;
  return false;
}

/* 0 or an errno. */
static int examine(const char *path, contents *c)
{
  DIR *d = opendir(path);
  if (d == NULL)
    return errno;
  *c = (contents){.empty = true};
  int code = 0;
  for (const struct dirent *e; errno = 0, (e = readdir(d)) != NULL;) {
    struct stat st;
    if (is_dots(e->d_name))
      continue;
    c->empty = false;
    c->checkpoint = c->checkpoint || marks_checkpoint(e->d_name);
    if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
      code = errno;
      break;
    }
    c->directories = c->directories || S_ISDIR(st.st_mode);
  }
  code = code ? code : errno;
  closedir(d);
  return code;
}

static ql_status refuse(const char *path, const char *why, const char *hint, ql_error *error)
{
  qli_io_fail(error, QL_STATUS_EXISTS, path, NULL, "%s", why);
  qli_error_hint(error, "%s", hint);
  return QL_STATUS_EXISTS;
}

ql_status qli_dir_check_target(const char *path, bool overwrite, bool *replace, ql_error *error)
{
  struct stat st;
  contents c = {0};
  *replace = false;
  if (lstat(path, &st) != 0)
    return errno == ENOENT ? QL_STATUS_OK : qli_io_errno(error, errno, path, "cannot be examined");
  if (!S_ISDIR(st.st_mode))
    return refuse(path, "exists and is not a directory", "give another name", error);
  const int code = examine(path, &c);
  if (code != 0)
    return qli_io_errno(error, code, path, "cannot be examined");
  if (c.empty)
    return QL_STATUS_OK;
  if (!overwrite)
    return refuse(path, "exists and is not empty", "give another name, or allow to overwrite it",
                  error);
  if (c.directories || !c.checkpoint)
    return refuse(path,
                  c.directories ? "holds directories: it does not look like a checkpoint"
                                : "holds no safetensors or config.json: it does not look like a "
                                  "checkpoint",
                  "it is not removed; give another name, or remove it yourself", error);
  *replace = true;
  return QL_STATUS_OK;
}

int qli_dir_remove(const char *path)
{
  DIR *d = opendir(path);
  if (d == NULL)
    return errno;
  int code = 0;
  for (const struct dirent *e; (e = readdir(d)) != NULL;)
    if (!is_dots(e->d_name) && unlinkat(dirfd(d), e->d_name, 0) != 0)
      code = errno;
  closedir(d);
  if (rmdir(path) != 0 && code == 0)
    code = errno;
  return code;
}
