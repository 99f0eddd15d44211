/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "commands.h"
#include "common.h"

#include <stdlib.h>
#include <string.h>

#define O(member) offsetof(common, member)

const option_row common_options[] = {
    {"threads", 0, OPTION_INT, O(threads), 0, "N", 1, 4096, NULL, "all available processors",
     "Worker threads. Results do not depend on it."},
    {"isa", 0, OPTION_TEXT, O(isa), 0, "NAME", 0, 0, NULL, "auto: QL_ISA, else the best available",
     "Instruction set of the kernels, as 'ql version' lists them."},
    {"reproducible", 0, OPTION_FLAG, O(reproducible), 1, NULL, 0, 0, NULL, NULL,
     "Sums in a fixed order without fused multiply-add: the same bytes on every instruction set. "
     "Slower."},
    {"json", 0, OPTION_FLAG, O(json), 1, NULL, 0, 0, NULL, NULL,
     "Print the result as one JSON object."},
    {"quiet", 'q', OPTION_FLAG, O(quiet), 1, NULL, 0, 0, NULL, NULL,
     "No progress and no warnings on standard error; errors still."},
    {"verbose", 'v', OPTION_FLAG, O(verbose), 1, NULL, 0, 0, NULL, NULL,
     "Tell more on standard error."},
    {"help", 'h', OPTION_FLAG, O(help), 1, NULL, 0, 0, NULL, NULL, "Print help and exit."},
    {0},
};

const command *const commands[] = {&command_quantize,
                                   &command_plan,
                                   &command_pack,
                                   &command_eval,
                                   &command_run,
                                   &command_inspect,
                                   &command_diff,
                                   &command_bench,
                                   &command_methods,
                                   &command_version,
                                   &command_help,
                                   NULL};

const command *command_find(const char *name)
{
  for (const command *const *c = commands; *c != NULL; c++)
    if (strcmp((*c)->name, name) == 0)
      return *c;
  return NULL;
}

static json_t *isa_array(void)
{
  json_t *list = json_array();
  int32_t runnable;
  const char *name;
  for (size_t i = 0; (name = ql_isa_list(i, &runnable)) != NULL; i++)
    json_array_append_new(list, json_pack("{s:s, s:b}", "name", name, "runnable", (int)runnable));
  return list;
}

static int run_version(void *arguments)
{
  const common *options = arguments;
  if (options->json)
    return print_json(json_pack("{s:s, s:o}", "version", ql_version_str(), "isa", isa_array()));
  printf("ql %s\ninstruction sets:", ql_version_str());
  int32_t runnable;
  const char *name;
  for (size_t i = 0; (name = ql_isa_list(i, &runnable)) != NULL; i++)
    printf(" %s%s", name, runnable ? "" : " (not on this machine)");
  putchar('\n');
  return finish_stdout();
}

static const option_row no_options[] = {{0}};

const command command_version = {
    "version",
    NULL,
    "[OPTION]...",
    "print the version and the instruction sets",
    "Prints the version and the instruction sets that this build knows, and which of them this "
    "machine can run.",
    NULL,
    no_options,
    sizeof(common),
    run_version};

typedef struct help_arguments {
  common common;
  int man, bash;
} help_arguments;

static const option_row help_options[] = {
    {"man", 0, OPTION_FLAG, offsetof(help_arguments, man), 1, NULL, 0, 0, NULL, NULL,
     "Print the manual page as roff."},
    {"bash", 0, OPTION_FLAG, offsetof(help_arguments, bash), 1, NULL, 0, 0, NULL, NULL,
     "Print the completion for bash."},
    {0},
};

static int unknown_command(const char *kind, const char *word)
{
  const char *close = command_closest(word);
  if (close == NULL)
    return usage_error(NULL, "unknown %s '%s'", kind, word);
  return usage_error(NULL, "unknown %s '%s'; is it '%s'?", kind, word, close);
}

static int run_help(void *arguments)
{
  const help_arguments *a = arguments;
  const command *c = a->common.operand != NULL ? command_find(a->common.operand) : NULL;
  if (a->common.operand != NULL && c == NULL)
    return unknown_command("command", a->common.operand);
  if (a->man)
    help_man();
  else if (a->bash)
    help_bash();
  else if (c != NULL)
    help_command(c);
  else
    help_overview();
  return finish_stdout();
}

const command command_help = {"help",
                              "[COMMAND]",
                              "[COMMAND]",
                              "print help",
                              "Prints help on a command, or an overview.",
                              NULL,
                              help_options,
                              sizeof(help_arguments),
                              run_help};

static int run_command(const command *c, int argc, char **argv)
{
  void *arguments = calloc(1, c->arguments_size);
  if (arguments == NULL) {
    fputs("ql: error: no memory\n", stderr);
    return EXIT_FAILED;
  }
  int code = options_parse(c, argc, argv, arguments);
  if (code == 0 && ((const common *)arguments)->help) {
    help_command(c);
    code = finish_stdout();
  } else if (code == 0) {
    code = c->run(arguments);
  }
  free(arguments);
  return code;
}

int main(int argc, char **argv)
{
  if (argc < 2) {
    help_overview();
    return finish_stdout() == EXIT_DONE ? EXIT_USAGE : EXIT_IO;
  }
  if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
    help_overview();
    return finish_stdout();
  }
  if (strcmp(argv[1], "--version") == 0)
    return run_command(&command_version, argc - 2, argv + 2);
  const command *c = command_find(argv[1]);
  if (c == NULL)
    return unknown_command(argv[1][0] == '-' ? "option" : "command", argv[1]);
  return run_command(c, argc - 2, argv + 2);
}
