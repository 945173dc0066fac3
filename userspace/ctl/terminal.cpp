// SPDX-License-Identifier: Apache-2.0
// See terminal.hpp.
#include "ctl/terminal.hpp"

#include <cstdlib>
#include <string_view>

#include <sys/ioctl.h>
#include <unistd.h>

namespace culvert::ctl {

Terminal inspect_terminal(int fd) {
  Terminal terminal;
  terminal.is_terminal = ::isatty(fd) == 1;
  if (!terminal.is_terminal) return terminal;
  winsize size{};
  terminal.look.width = 80;
  if (::ioctl(fd, TIOCGWINSZ, &size) == 0) {
    if (size.ws_col != 0) terminal.look.width = size.ws_col;
    terminal.height = size.ws_row;
  }
  const char* no_color = ::getenv("NO_COLOR");
  const char* kind = ::getenv("TERM");
  const bool is_dumb = kind == nullptr || std::string_view(kind) == "dumb";
  terminal.look.has_colour = !is_dumb && (no_color == nullptr || *no_color == '\0');
  return terminal;
}

}  // namespace culvert::ctl
