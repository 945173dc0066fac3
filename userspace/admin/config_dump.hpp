// SPDX-License-Identifier: Apache-2.0
// ConfigDump: the body of /config_dump in ztunnel's form, made object by object as its reader takes it. It holds one snapshot and the
// rows of the live connections (about 100 bytes each) until it ends; what is in memory besides is one piece, kPieceBytes and one object.
// Control thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "admin/dump_source.hpp"
#include "admin/http_server.hpp"
#include "admin/provider.hpp"
#include "telemetry/connection_log.hpp"

namespace culvert::admin {

// What a dump says of a live connection.
struct DumpConnection {
  explicit DumpConnection(const telemetry::ConnectionLog& connection);
  Endpoint source;
  Endpoint original;     // what the application dialled
  Endpoint actual;       // where it goes
  std::string hostname;  // that the far side was asked for; empty: an address
  telemetry::Transport transport;
};

struct DumpPod {
  Pod pod;
  std::vector<DumpConnection> inbound;
  std::vector<DumpConnection> outbound;
};
// Pods by id, with their connections; a connection whose pod is not listed is left out.
[[nodiscard]] std::map<std::string, DumpPod> dump_pods(std::vector<Pod> pods,
                                                       const std::vector<telemetry::ConnectionLog>& connections);

class ConfigDump final : public BodySource {
 public:
  static constexpr std::size_t kPieceBytes = 32 * 1024;

  // `lease` is held until the dump ends.
  ConfigDump(std::unique_ptr<DumpSource> source, std::map<std::string, DumpPod> pods, std::shared_ptr<void> lease);

  bool next(std::string& out) override;

 private:
  // Each writes one object or the step to the next section, and sets the step that follows.
  using Step = void (ConfigDump::*)();
  void begin();
  void workload();
  void service();
  void endpoint();
  void policy();
  void staged();
  void staged_endpoint();
  void local_workload();
  void local_policy();
  void local_service();
  void local_endpoint();
  void constants();
  void certificate();
  void pod();
  void inbound();
  void outbound();
  // Starts a list or map under `key` whose elements `step` writes.
  void begin_list(std::string_view key, Step step);
  void begin_map(std::string_view key, Step step);

  std::unique_ptr<DumpSource> source_;
  std::map<std::string, DumpPod> pods_;
  std::shared_ptr<void> lease_;
  JsonWriter json_{JsonWriter::Layout::Indented};
  Step step_ = &ConfigDump::begin;                     // null: done
  std::size_t at_ = 0;                                 // in the section
  std::size_t inner_at_ = 0;                           // in the object of the section
  std::vector<const state::Authorization*> policies_;  // of the snapshot, by key
  std::optional<DumpStaged> staged_;
};

}  // namespace culvert::admin
