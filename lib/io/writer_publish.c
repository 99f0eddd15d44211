/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "writer.h"

#include "ctx.h"
#include "error.h"
#include "fs_dir.h"
#include "io_util.h"

#include <errno.h>
#include <fcntl.h>

/* How the new directory came to its name, which is also how it leaves it again. */
enum placement { RENAMED, EXCHANGED, SET_ASIDE };

/* Some file systems cannot sync a directory and say so with EINVAL. */
static int sync_directory(const ql_writer *w, int fd)
{
  return w->os->fsync(fd) == 0 || errno == EINVAL ? 0 : errno;
}

static ql_status sync_files(ql_writer *w, ql_error *error)
{
  for (size_t i = 0; i < w->shard_count; i++) {
    qli_out_shard *s = &w->shards[i];
    if (w->os->fsync(s->fd) != 0)
      return qli_writer_errno(w, errno, s->name, "cannot be synced to disk", error);
    const int closed = w->os->close(s->fd);
    s->fd = -1;
    if (closed != 0 && errno != EINTR)
      return qli_writer_errno(w, errno, s->name, "cannot be closed", error);
  }
  const int code = sync_directory(w, w->dir_fd);
  return code == 0 ? QL_STATUS_OK
                   : qli_io_errno(error, code, w->partial, "cannot be synced to disk");
}

static ql_status fail_rename(const ql_writer *w, int code, ql_error *error)
{
  qli_io_errno(error, code, w->dir, "the finished directory cannot be put there");
  const bool taken = code == EEXIST || code == ENOTEMPTY;
  return qli_io_restate(error, taken ? QL_STATUS_EXISTS : QL_STATUS_IO, code);
}

/* In one step where the system can exchange two names, so that at no moment there is none;
 * otherwise the old one is set aside first. */
static ql_status put_in_place(const ql_writer *w, bool replace, enum placement *how,
                              ql_error *error)
{
  *how = RENAMED;
  if (!replace)
    return w->os->rename(w->partial, w->dir) == 0 ? QL_STATUS_OK : fail_rename(w, errno, error);
  *how = EXCHANGED;
  if (w->os->exchange(w->partial, w->dir) == 0)
    return QL_STATUS_OK;
  if (errno != ENOSYS && errno != EINVAL && errno != EOPNOTSUPP)
    return fail_rename(w, errno, error);
  *how = SET_ASIDE;
  if (w->os->rename(w->dir, w->aside) != 0)
    return qli_io_errno(error, errno, w->dir, "the old directory cannot be set aside");
  if (w->os->rename(w->partial, w->dir) == 0)
    return QL_STATUS_OK;
  const int code = errno;
  if (w->os->rename(w->aside, w->dir) != 0)
    qli_log(w->ctx, QL_LOG_ERROR, "the old directory is now at %.300s", w->aside);
  return fail_rename(w, code, error);
}

static bool take_back(const ql_writer *w, enum placement how)
{
  if (how == EXCHANGED)
    return w->os->exchange(w->partial, w->dir) == 0;
  if (w->os->rename(w->dir, w->partial) != 0)
    return false;
  return how != SET_ASIDE || w->os->rename(w->aside, w->dir) == 0;
}

static ql_status sync_parent(const ql_writer *w, ql_error *error)
{
  const int fd = w->os->open_at(AT_FDCWD, w->parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (fd < 0)
    return qli_io_errno(error, errno, w->parent, "cannot be opened to sync it");
  const int code = sync_directory(w, fd);
  (void)w->os->close(fd);
  return code == 0 ? QL_STATUS_OK
                   : qli_io_errno(error, code, w->parent, "cannot be synced to disk");
}

ql_status qli_writer_publish(ql_writer *w, ql_error *error)
{
  bool replace;
  enum placement how;
  QLI_TRY(sync_files(w, error));
  QLI_TRY(qli_dir_check_target(w->dir, w->config.overwrite != 0, &replace, error));
  QLI_TRY(put_in_place(w, replace, &how, error));
  const ql_status status = sync_parent(w, error);
  if (status != QL_STATUS_OK) {
    /* If that fails too, the partial name may hold the old checkpoint: it must not be removed. */
    if (!take_back(w, how))
      w->state = QLI_WRITER_DONE;
    return status;
  }
  if (how != RENAMED) {
    const char *old = how == EXCHANGED ? w->partial : w->aside;
    const int code = qli_dir_remove(old);
    if (code != 0)
      qli_log(w->ctx, QL_LOG_WARNING, "the old checkpoint remains at %.300s (errno %d)", old, code);
  }
  return QL_STATUS_OK;
}
