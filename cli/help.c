/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include <quantlib/version.h>

#include <stdio.h>
#include <string.h>

#define WIDTH 80
#define HELP_COLUMN 26

static const char what[] = "quantize, run and measure language models on a CPU";

/* Prints text from the cursor's column on, broken at WIDTH, further lines at `indent`. */
static void print_wrapped(const char *text, size_t column, size_t indent)
{
  while (*text != '\0') {
    size_t word = strcspn(text, " \n");
    if (column > indent && column + 1 + word > WIDTH) {
      printf("\n%*s", (int)indent, "");
      column = indent;
    } else if (column > indent) {
      putchar(' ');
      column++;
    }
    printf("%.*s", (int)word, text);
    column += word;
    text += word;
    if (text[0] == '\n' && text[1] == '\n') {
      printf("\n\n%*s", (int)indent, "");
      column = indent;
    }
    text += strspn(text, " \n");
  }
  putchar('\n');
}

static const char *preset_of(const option_row *row)
{
  return row->note != NULL ? row->note : row->preset;
}

/* Help of one option with its default. */
static void full_help(const option_row *row, char *out, size_t size)
{
  const char *preset = preset_of(row);
  if (preset == NULL)
    snprintf(out, size, "%s", row->help);
  else
    snprintf(out, size, "%s (default: %s)", row->help, preset);
}

static void print_options(const option_row *rows)
{
  for (; rows->name != NULL; rows++) {
    char left[96], help[1024];
    const char *arg = rows->kind == OPTION_FLAG ? "" : rows->arg;
    const char letter[] = {'-', rows->letter, ',', '\0'};
    const int n = snprintf(left, sizeof left, "  %-3s --%s%s%s", rows->letter ? letter : "",
                           rows->name, arg[0] ? " " : "", arg);
    size_t column = n < 0 ? 0 : (size_t)n;
    fputs(left, stdout);
    if (column + 2 > HELP_COLUMN) {
      putchar('\n');
      column = 0;
    }
    printf("%*s", (int)(HELP_COLUMN - column), "");
    full_help(rows, help, sizeof help);
    print_wrapped(help, HELP_COLUMN, HELP_COLUMN);
  }
}

void help_overview(void)
{
  printf("ql %s: %s\n\nUsage: ql COMMAND [OPTION]...\n\nCommands:\n", ql_version_str(), what);
  for (const command *const *c = commands; *c != NULL; c++)
    printf("  %-10s %s\n", (*c)->name, (*c)->summary);
  puts("\nOptions of every command:");
  print_options(common_options);
  puts("\n'ql COMMAND --help' tells more about a command. Start with:\n\n"
       "  ql quantize MODEL -o MODEL-4bit\n"
       "  ql eval MODEL-4bit --text some.txt --ref MODEL\n\n"
       "MODEL is a directory as on Hugging Face: config.json, tokenizer.json, *.safetensors.");
}

void help_command(const command *c)
{
  printf("ql %s: %s\n\nUsage: ql %s %s\n\n", c->name, c->summary, c->name, c->synopsis);
  print_wrapped(c->about, 0, 0);
  if (c->options->name != NULL) {
    puts("\nOptions:");
    print_options(c->options);
  }
  puts("\nOptions of every command:");
  print_options(common_options);
  if (c->examples != NULL)
    printf("\nExamples:\n%s", c->examples);
}

/* Text as roff: backslashes and hyphens escaped, no line that begins with a control character. */
static void roff(const char *text)
{
  int line_start = 1;
  for (; *text != '\0'; text++) {
    if (line_start && (*text == '.' || *text == '\''))
      fputs("\\&", stdout);
    line_start = *text == '\n';
    if (*text == '\\')
      fputs("\\e", stdout);
    else if (*text == '-')
      fputs("\\-", stdout);
    else
      putchar(*text);
  }
}

static void roff_paragraphs(const char *text)
{
  const char *end;
  while ((end = strstr(text, "\n\n")) != NULL) {
    char part[2048];
    snprintf(part, sizeof part, "%.*s", (int)(end - text), text);
    roff(part);
    fputs("\n.PP\n", stdout);
    text = end + 2;
  }
  roff(text);
  putchar('\n');
}

static void roff_options(const option_row *rows)
{
  for (; rows->name != NULL; rows++) {
    char help[1024];
    fputs(".TP\n", stdout);
    if (rows->letter != 0)
      printf("\\fB\\-%c\\fR, ", rows->letter);
    fputs("\\fB\\-\\-", stdout);
    roff(rows->name);
    fputs("\\fR", stdout);
    if (rows->kind != OPTION_FLAG) {
      fputs(" \\fI", stdout);
      roff(rows->arg);
      fputs("\\fR", stdout);
    }
    putchar('\n');
    full_help(rows, help, sizeof help);
    roff(help);
    putchar('\n');
  }
}

static void roff_command(const command *c)
{
  printf(".SS ql %s ", c->name);
  roff(c->synopsis);
  putchar('\n');
  roff_paragraphs(c->about);
  roff_options(c->options);
}

static void roff_examples(void)
{
  puts(".SH EXAMPLES\n.nf");
  for (const command *const *c = commands; *c != NULL; c++)
    if ((*c)->examples != NULL)
      roff((*c)->examples);
  puts(".fi");
}

void help_man(void)
{
  puts(".\\\" SPDX-FileCopyrightText: 2026 The quantlib authors\n"
       ".\\\" SPDX-License-Identifier: Apache-2.0\n"
       ".\\\" Made by 'ql help --man' from the table of options: do not edit.");
  printf(".TH QL 1 \"\" \"quantlib %s\" \"User Commands\"\n.SH NAME\nql \\- %s\n", ql_version_str(),
         what);
  puts(".SH SYNOPSIS\n\\fBql\\fR \\fICOMMAND\\fR [\\fIOPTION\\fR]...\n.SH DESCRIPTION");
  roff_paragraphs(
      "Turns the weights of a trained language model into weights of a few bits, runs the result "
      "on a CPU and measures what was lost. A model is a directory as on Hugging Face: "
      "config.json, "
      "tokenizer.json and *.safetensors.\n\n"
      "Results go to standard output, progress and messages to standard error. With --json, "
      "standard output is one JSON object. On a terminal a bar shows progress and the time left.");
  puts(".SH COMMANDS");
  for (const command *const *c = commands; *c != NULL; c++)
    roff_command(*c);
  puts(".SH OPTIONS OF EVERY COMMAND");
  roff_options(common_options);
  puts(".SH EXIT STATUS");
  for (const exit_row *row = exit_rows; row->meaning != NULL; row++) {
    printf(".TP\n\\fB%d\\fR\n", row->code);
    roff(row->meaning);
    putchar('\n');
  }
  puts(".SH ENVIRONMENT\n.TP\n\\fBQL_ISA\\fR\nThe instruction set to use where \\-\\-isa is auto.\n"
       ".TP\n\\fBNO_COLOR\\fR\nIf set and not empty, messages are not colored.");
  roff_examples();
}

/* Words of a shell's case: "--name", and "-x" where there is a letter. */
static void bash_words(const option_row *rows)
{
  for (; rows->name != NULL; rows++) {
    printf(" --%s", rows->name);
    if (rows->letter != 0)
      printf(" -%c", rows->letter);
  }
}

/* What completes the value of an option. */
static void bash_values(const char *command_name, const option_row *rows)
{
  for (; rows->name != NULL; rows++) {
    if (rows->kind == OPTION_FLAG)
      continue;
    printf("    %s:--%s", command_name, rows->name);
    if (rows->letter != 0)
      printf("|%s:-%c", command_name, rows->letter);
    fputs(") ", stdout);
    if (rows->kind == OPTION_CHOICE) {
      fputs("words=\"", stdout);
      for (const char *c = rows->arg; *c != '\0'; c++)
        putchar(*c == '|' ? ' ' : *c);
      puts("\" ;;");
    } else {
      puts(rows->kind == OPTION_FILE ? "_ql_files; return ;;" : "return ;;");
    }
  }
}

void help_bash(void)
{
  puts("# SPDX-FileCopyrightText: 2026 The quantlib authors\n"
       "# SPDX-License-Identifier: Apache-2.0\n"
       "# Completion of ql for bash. Made by 'ql help --bash' from the table of options: do not "
       "edit.\n"
       "_ql_files() {\n  compopt -o filenames\n"
       "  mapfile -t COMPREPLY < <(compgen -f -- \"${COMP_WORDS[COMP_CWORD]}\")\n}\n"
       "_ql() {\n"
       "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} words=\n"
       "  COMPREPLY=()\n  if [ \"$COMP_CWORD\" = 1 ]; then\n    words=\"--help --version\"");
  for (const command *const *c = commands; *c != NULL; c++)
    printf("    words+=\" %s\"\n", (*c)->name);
  puts("  else\n    case \"${COMP_WORDS[1]}:$before\" in");
  for (const command *const *c = commands; *c != NULL; c++) {
    bash_values((*c)->name, (*c)->options);
    bash_values((*c)->name, common_options);
  }
  puts("    esac\n  fi\n  if [ -z \"$words\" ]; then\n"
       "    [[ $word == -* ]] || { _ql_files; return; }\n    case \"${COMP_WORDS[1]}\" in");
  for (const command *const *c = commands; *c != NULL; c++) {
    printf("    %s) words=\"", (*c)->name);
    bash_words((*c)->options);
    bash_words(common_options);
    puts("\" ;;");
  }
  puts("    esac\n  fi\n  mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n}\n"
       "complete -F _ql ql");
}
