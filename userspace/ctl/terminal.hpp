// SPDX-License-Identifier: Apache-2.0
// What standard output is: its size, and whether it wants colours (https://no-color.org).
#pragma once

#include "ctl/table.hpp"

namespace culvert::ctl {

struct Terminal {
  bool is_terminal = false;
  unsigned height = 0;  // lines; 0: unknown
  Look look;
};

[[nodiscard]] Terminal inspect_terminal(int fd);

}  // namespace culvert::ctl
