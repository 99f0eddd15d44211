/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "commands.h"
#include "common.h"
#include "model.h"
#include "util.h"

#include <stdlib.h>
#include <sys/stat.h>

typedef struct pack_arguments {
  common common;
  const char *output;
} pack_arguments;

#define O(member) offsetof(pack_arguments, member)

static const option_row rows[] = {
    {"output", 'o', OPTION_FILE, O(output), 0, "FILE", 0, 0, NULL, "MODEL/model.qlpacked",
     "The file to write; an old one is replaced when the new one is complete."},
    {0},
};

static double file_bytes(const char *path)
{
  struct stat st;
  return stat(path, &st) == 0 ? (double)st.st_size : 0;
}

static ql_status pack(session *s, const char *dir, const char *path)
{
  const qle_model_options whole = {.join = 1};
  qle_model *model = NULL;
  ql_status status = qle_model_open(s->ctx, dir, &whole, &model, &s->error);
  if (status == QL_STATUS_OK)
    status = qle_model_save_packed(model, path, &s->error);
  qle_model_close(model);
  return status;
}

static int print_packed(const session *s, const pack_arguments *a, const char *path)
{
  char text[32];
  if (a->common.json)
    return print_json(json_pack("{s:o, s:o, s:I, s:s}", "model", qle_json_text(a->common.operand),
                                "packed", qle_json_text(path), "bytes",
                                (json_int_t)file_bytes(path), "isa", ql_ctx_isa_name(s->ctx)));
  printf("%s: %s for the kernels of %s\n", path, human_bytes(file_bytes(path), text, sizeof text),
         ql_ctx_isa_name(s->ctx));
  return finish_stdout();
}

static int run(void *arguments)
{
  const pack_arguments *a = arguments;
  session s;
  int code = session_open(&s, &a->common);
  if (code != 0)
    return code;
  char *preset = qle_path_join(a->common.operand, "model.qlpacked");
  const char *path = a->output != NULL ? a->output : preset;
  const ql_status status = path == NULL ? QL_STATUS_NO_MEMORY : pack(&s, a->common.operand, path);
  session_clear(&s);
  code = status != QL_STATUS_OK ? session_fail(&s, status) : print_packed(&s, a, path);
  free(preset);
  session_close(&s);
  return code;
}

const command command_pack = {
    "pack",
    "MODEL",
    "MODEL [OPTION]...",
    "pack the weights of a model once, to be mapped by 'ql run' and 'ql eval'",
    "Writes the weights of the model in directory MODEL in the layout of this machine's kernels. "
    "'ql run' and 'ql eval' with --packed map the file instead of packing: they begin at once, and "
    "processes share the memory.\n\n"
    "The file is a cache, not a format. It belongs to the instruction set and to the version of "
    "the program that wrote it and to the model as it was: its config.json, the tables of its "
    "files, their sizes and times of change. Where one of them is another, the file is not used.",
    "  ql pack llama-4bit\n"
    "  ql run llama-4bit --packed llama-4bit/model.qlpacked --prompt 'Once upon a time'\n",
    rows,
    sizeof(pack_arguments),
    run};
