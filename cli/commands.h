/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QL_CLI_COMMANDS_H
#define QL_CLI_COMMANDS_H

#include "options.h"

extern const command command_quantize, command_plan, command_pack, command_eval, command_run,
    command_inspect, command_diff, command_bench, command_methods, command_version, command_help;

#endif
