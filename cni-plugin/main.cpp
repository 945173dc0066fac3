// SPDX-License-Identifier: Apache-2.0
// culvert-cni: stdin and environment in, stdout and exit code out. Everything between is plugin.cpp.
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include <unistd.h>

#include "net_config.hpp"
#include "plugin.hpp"

namespace {

using namespace culvert::cni_plugin;

// False on a read error. One byte beyond the limit is enough to be refused.
bool read_stdin(std::string& text) {
  constexpr std::size_t kStep = 16'384;
  while (text.size() <= kConfigBytesMax) {
    const std::size_t used = text.size();
    text.resize(used + kStep);
    const ssize_t got = ::read(STDIN_FILENO, text.data() + used, kStep);
    text.resize(used + (got > 0 ? static_cast<std::size_t>(got) : 0));
    if (got == 0) return true;
    if (got < 0 && errno != EINTR) return false;
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "--version") {
    std::printf("culvert-cni %s, CNI 0.3.0 to 1.1.0\n", CULVERT_VERSION);
    return 0;
  }
  std::string text;
  Output output;
  if (::getenv("CNI_COMMAND") != nullptr && !read_stdin(text)) {
    output =
        error_output({CniErrorCode::IoFailure, "cannot read the network configuration", ::strerrordesc_np(errno)}, "");
  } else {
    output = run(::getenv, text);
  }
  const bool is_written =
      std::fwrite(output.text.data(), 1, output.text.size(), stdout) == output.text.size() && std::fflush(stdout) == 0;
  return is_written ? output.exit_code : 1;
}
