// SPDX-License-Identifier: Apache-2.0
// XdsSession: the state of delta discovery, across streams: what is known of each type, what a new stream asks for, and the answer to each
// response. Values in, values out; it knows no gRPC, no clock, no thread. Control thread.
//
// The rules (those of ztunnel): the first request of a type on a stream carries the node and the names and versions of everything that is still
// known; each response is answered once, whether or not all of it could be taken over; what could is in force in either case; a name is
// remembered only when its resource was taken. What the control plane removed while nobody listened arrives as removed. Removals come before
// the rest of a response. A type that nobody here knows is acknowledged, so that it is not sent again and again.
//
// On demand (docs/architecture.md, "On demand") no address is subscribed to but by name. A name is answered when a response has it as a resource, as an
// alias of one, or among what was removed: then somebody in the store has it, or it is absent there. What comes and cannot be taken answers nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#include "control/demand_table.hpp"
#include "state/store.hpp"

namespace culvert::control {

// A response or a part of one: a large push comes in pieces.
struct XdsUpdate {
  struct Resource {
    std::string name;
    std::string version;
    std::variant<state::Workload, state::Service, state::Authorization> value;
    std::vector<std::string> aliases{};  // under which it may have been asked for
  };
  struct Rejected {
    std::string name;
    std::string reason;
  };
  std::string type_url;
  std::string nonce;
  std::vector<std::string> removed;
  std::vector<Resource> resources;
  std::vector<Rejected> rejected;
  bool is_last = true;
};

// Has the resource's value say the version itself, where the version is a number and the resource is called as the API calls that value: the
// store then remembers both, at a tenth of what a map of names takes.
void keep_version(XdsUpdate::Resource& resource);

struct XdsRequest {
  std::string type_url;
  bool has_node = false;
  std::vector<std::string> subscribe;
  std::vector<std::string> unsubscribe;
  std::vector<std::pair<std::string, std::string>> initial_versions;
  std::string nonce;  // empty: this answers nothing
  std::string error;  // not empty: the response was not taken over as a whole
};

// What istiod calls the resource of such an object.
[[nodiscard]] inline std::string resource_name(const state::Workload& workload) { return workload.uid; }
[[nodiscard]] inline std::string resource_name(const state::Service& service) {
  return service.namespace_name + "/" + service.hostname;
}
[[nodiscard]] inline std::string resource_name(const state::Authorization& policy) { return policy.key(); }

class XdsSession {
 public:
  // `store` outlives the session. On demand: addresses are asked for by name.
  XdsSession(state::Store& store, bool is_on_demand);

  // A stream was opened: its first requests. What was wanted by name is to be said after them (take_wishes).
  [[nodiscard]] std::vector<XdsRequest> begin();
  // Takes over what can be. The answer comes with the last part. The store is not published. `now_ms`: of the clock that the three below go by.
  [[nodiscard]] std::optional<XdsRequest> take(const XdsUpdate& update, std::uint64_t now_ms = 0);

  // On demand: "NETWORK/IP" or "NAMESPACE/HOSTNAME" is wanted. Nothing when it is known or asked for already.
  void want(const std::string& name, std::uint64_t now_ms);
  // Names whose time is over are forgotten. True: the store has changed.
  [[nodiscard]] bool expire(std::uint64_t now_ms, bool is_connected);
  // What is to be said of names by now; only on a stream that has answered.
  [[nodiscard]] std::vector<XdsRequest> take_wishes();
  [[nodiscard]] const DemandTable& demands() const noexcept { return demands_; }

  // The control plane's object of that name is in force, an address resource's or a policy's.
  [[nodiscard]] bool has_address(const std::string& name) const;
  [[nodiscard]] bool has_policy(const std::string& name) const { return authorizations_.versions.contains(name); }
  // Of others a response is acknowledged, and nothing done with it.
  [[nodiscard]] static bool knows_type(std::string_view url) noexcept;
  // Every type that is not on demand was answered for, and nothing of it was missing then.
  [[nodiscard]] bool is_warm() const noexcept {
    return authorizations_.is_warm && (is_on_demand_ || addresses_.is_warm);
  }
  static constexpr std::size_t kErrorBytesMax = 4'096;           // of a NACK's text
  static constexpr std::string_view kNobody = "culvert/nobody";  // a name that is never anybody's

 private:
  struct Type {
    // By name: what is known beside what the store remembers (keep_version).
    std::unordered_map<std::string, std::string> versions;
    std::string error;  // of the response that is being taken
    // Until it is warm: names of what could not be taken, until they are taken or removed.
    std::unordered_set<std::string> missing;
    bool is_warm = false;
  };
  [[nodiscard]] XdsRequest first(std::string_view url, const Type& type, bool has_wildcard) const;
  [[nodiscard]] bool is_in_store(std::string_view name) const;  // as istiod gave it
  [[nodiscard]] bool is_somebodys(std::string_view name) const;
  // `is_name`: the resource is called so.
  void answered(const std::string& name, bool is_name, std::uint64_t now_ms);
  void remove(std::string_view url, const std::string& name);

  state::Store& store_;
  bool is_on_demand_;
  DemandTable demands_;
  Type addresses_;
  Type authorizations_;
};

}  // namespace culvert::control
