// SPDX-License-Identifier: Apache-2.0
// A DumpSource over a store that a test fills, and the whole text of a dump.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "admin/config_dump.hpp"
#include "admin/dump_source.hpp"
#include "state/store.hpp"

namespace culvert::admin {

struct StoreDump : DumpSource {
  explicit StoreDump(state::Store& from) : store(from), picture(from.publish()) {}
  state::Store& store;
  std::shared_ptr<const state::Snapshot> picture;
  std::vector<DumpIdentity> identities;
  DumpLocal local_mesh;

  const state::Snapshot* snapshot() const override { return picture.get(); }
  std::optional<DumpStaged> staged_after(const std::optional<ServiceName>& after) const override {
    const auto found = store.staged_after(after);
    if (!found) return std::nullopt;
    DumpStaged staged{found->name.first, found->name.second, {}};
    for (const std::uint32_t workload : found->workloads) staged.workload_uids.emplace_back(store.uid(workload));
    return staged;
  }
  DumpLocal local() const override { return local_mesh; }
  std::size_t identity_count() const override { return identities.size(); }
  DumpIdentity identity(std::size_t index) const override { return identities[index]; }
  void write_version(JsonWriter& json) const override { json.field("version", "1.2.3"); }
  void write_config(JsonWriter& json) const override { json.field("localNode", "node-a"); }
};

inline state::Workload workload(const std::string& name, const std::string& address = {}) {
  state::Workload made;
  made.uid = "Kubernetes//Pod/shop/" + name;
  made.name = name;
  made.namespace_name = "shop";
  made.identity = SpiffeId::make("cluster.local", "shop", name).value();
  if (!address.empty()) made.addresses = {IpAddress::parse(address).value()};
  return made;
}

// All pieces; each is `piece_bytes_max` at most where that is not 0.
inline std::string whole(ConfigDump& dump, std::size_t* piece_bytes_max = nullptr) {
  std::string all;
  bool has_more = true;
  while (has_more) {
    std::string piece;
    has_more = dump.next(piece);
    if (piece_bytes_max != nullptr) *piece_bytes_max = std::max(*piece_bytes_max, piece.size());
    all += piece;
  }
  return all;
}

}  // namespace culvert::admin
