// SPDX-License-Identifier: Apache-2.0
// An agent for the plugin's tests: a real unix socket in a directory of its own, and a script of what to answer.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.hpp"
#include "cni_result.hpp"
#include "culvert/cni/messages.hpp"

namespace culvert::testing {

// A directory that goes with the test.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  [[nodiscard]] std::string path(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

struct Received {
  std::string text;
  std::size_t descriptors = 0;
};

// Answers each connection's packet with what the script gives; nullopt: closes without an answer. One thread, joined at the end.
class ScriptedAgent {
 public:
  using Script = std::function<std::optional<std::string>(const Received&)>;
  ScriptedAgent(const std::string& socket_path, Script script);
  ~ScriptedAgent();
  ScriptedAgent(const ScriptedAgent&) = delete;
  ScriptedAgent& operator=(const ScriptedAgent&) = delete;
  // What came, once the agent has ended.
  const std::vector<Received>& finish();

 private:
  void serve();

  Script script_;
  UniqueFd listener_;
  UniqueFd stop_;
  std::vector<Received> received_;
  std::thread thread_;
};

// The plugin as a runtime calls it, in this process.
struct Call {
  std::map<std::string, std::string> variables;
  std::string config;
};
[[nodiscard]] cni_plugin::Output run_plugin(const Call& call);
// A call for container "c1", pod shop/cart, namespace /proc/self/ns/net, version 1.1.0, with a prevResult; `members` are put into the config.
[[nodiscard]] Call call_of(const std::string& command, const TempDir& dir, const std::string& members = "");
inline constexpr char kPrevResult[] =
    R"({"cniVersion": "1.1.0","zeta":1.0 ,"ips":[ {"address":"10.1.0.5/24"} ],"interfaces":[],"dns":{},"big":123456789012345678901})";

}  // namespace culvert::testing
