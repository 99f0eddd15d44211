/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include <quantlib/status.h>
#include <quantlib/version.h>

#define STRING_(x) #x
#define STRING(x) STRING_(x)

const char *ql_status_str(ql_status status)
{
  switch (status) {
  case QL_STATUS_OK: return "ok";
  case QL_STATUS_INVALID_ARGUMENT: return "invalid argument";
  case QL_STATUS_SHAPE: return "shapes do not fit";
  case QL_STATUS_DTYPE: return "element type not accepted";
  case QL_STATUS_OVERFLOW: return "size overflow";
  case QL_STATUS_NO_MEMORY: return "out of memory";
  case QL_STATUS_CANCELLED: return "cancelled";
  case QL_STATUS_UNSUPPORTED: return "unsupported";
  case QL_STATUS_LAYOUT: return "packed for another kernel";
  case QL_STATUS_IO: return "input/output error";
  case QL_STATUS_NOT_FOUND: return "not found";
  case QL_STATUS_EXISTS: return "exists already";
  case QL_STATUS_FORMAT: return "malformed file";
  case QL_STATUS_NUMERIC: return "numerical failure";
  case QL_STATUS_SELF_CHECK: return "self-check failed";
  case QL_STATUS_INTERNAL: return "internal error";
  default: return "unknown status";
  }
}

uint32_t ql_version(void)
{
  return QL_API_VERSION_MAJOR * 10000u + QL_API_VERSION_MINOR * 100u + QL_API_VERSION_PATCH;
}

const char *ql_version_str(void)
{
  return STRING(QL_API_VERSION_MAJOR) "." STRING(QL_API_VERSION_MINOR) "." STRING(
      QL_API_VERSION_PATCH);
}
