// SPDX-License-Identifier: Apache-2.0
// DumpSource: what the agent shows in one /config_dump, asked for object by object while the dump goes out: a dump of a large
// mesh takes seconds, and nothing is copied for it as a whole. The app implements it. Control thread; plain values, no secrets: a
// private key never passes here, nor does a token.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "admin/json_writer.hpp"
#include "state/snapshot.hpp"

namespace culvert::admin {

struct DumpCertificate {
  std::string pem;
  std::string serial_decimal;
  std::string not_before;  // RFC 3339, UTC, seconds
  std::string not_after;
};

struct DumpIdentity {
  std::string identity;  // SPIFFE URI
  std::string state;     // "Initializing", "Available", "Unavailable: WHY"
  std::vector<DumpCertificate> chain;
  std::vector<DumpCertificate> roots;
};

// A service that workloads name and that has not come.
struct DumpStaged {
  std::string namespace_name;
  std::string hostname;
  std::vector<std::string> workload_uids;
};

// What a local file says of the mesh, as it says it.
struct DumpLocal {
  std::span<const state::Workload> workloads;
  std::span<const state::Service> services;
  std::span<const state::Authorization> policies;
};

class DumpSource {
 public:
  virtual ~DumpSource() = default;
  // The same one each time, as of the beginning of the dump. Null: the mesh is not known.
  [[nodiscard]] virtual const state::Snapshot* snapshot() const = 0;
  // The first in the order of (namespace, hostname) that comes after `after`, or the first of all.
  using ServiceName = std::pair<std::string, std::string>;
  [[nodiscard]] virtual std::optional<DumpStaged> staged_after(const std::optional<ServiceName>& after) const = 0;
  // LOCAL_XDS: the same one each time, as of the beginning of the dump.
  [[nodiscard]] virtual DumpLocal local() const = 0;
  // In the order of identities.
  [[nodiscard]] virtual std::size_t identity_count() const = 0;
  [[nodiscard]] virtual DumpIdentity identity(std::size_t index) const = 0;
  // The members of an object that is open.
  virtual void write_version(JsonWriter& json) const = 0;
  virtual void write_config(JsonWriter& json) const = 0;
};

}  // namespace culvert::admin
