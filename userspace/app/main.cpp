// SPDX-License-Identifier: Apache-2.0
// culvertd: options, then the agent. Errors are said once, here, and say what to do.
#include <cstdio>
#include <string>
#include <vector>

#include <malloc.h>
#include <CLI/CLI.hpp>

#include "app/agent.hpp"
#include "control/config.hpp"

namespace {

using culvert::Result;
using culvert::control::Config;

int complain(const culvert::Error& error) {
  std::fprintf(stderr, "culvertd: %s\n", error.message().c_str());
  return 1;
}

Result<Config> read_config(const std::string& path) {
  return path.empty() ? culvert::control::default_config() : culvert::control::load_config(path);
}

int run(const std::string& path) {
  Result<Config> config = read_config(path);
  if (!config) return complain(config.error());
  auto agent = culvert::app::Agent::start(path, std::move(*config));
  if (!agent) return complain(agent.error());
  return (*agent)->run();
}

int check(const std::string& path) {
  const Result<Config> config = culvert::control::load_config(path);
  if (!config) return complain(config.error());
  std::printf("%s: ok\n", path.c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  // Freed memory goes back to the system early: an idle agent shall be small.
  ::mallopt(M_TRIM_THRESHOLD, 128 * 1024);

  CLI::App app("culvertd: the node agent of the Culvert ambient mesh data plane");
  app.set_version_flag("--version", "culvertd " CULVERT_VERSION);
  std::string config_path;
  std::string check_path;
  const auto is_named = [](const std::string& path) {
    return path.empty() ? std::string("the name of the file is empty") : std::string();
  };
  app.add_option("--config", config_path,
                 "YAML configuration file (docs/operations.md); without it: the embedded defaults")
      ->check(CLI::Validator(is_named, "FILE"));
  app.add_option("--check-config", check_path, "check a configuration file, print what is wrong with it, and exit")
      ->check(CLI::Validator(is_named, "FILE"));
  // As ztunnel is started in its DaemonSet: "proxy ztunnel".
  std::vector<std::string> words;
  app.add_option("words", words, "\"proxy ztunnel\" is accepted, so that a DaemonSet made for ztunnel needs no change")
      ->check(CLI::IsMember({"proxy", "ztunnel"}))
      ->expected(0, 2);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  return check_path.empty() ? run(config_path) : check(check_path);
}
