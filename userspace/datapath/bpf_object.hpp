// SPDX-License-Identifier: Apache-2.0
// Owns the BPF object: its maps, its loaded programs, and the pins of the maps. Control thread only. libbpf is spoken to here, in
// links.cpp, clsact.cpp and pod_maps.cpp, nowhere else.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "culvert/abi/maps.h"
#include "datapath/pin_plan.hpp"

struct bpf_map;
struct bpf_program;
struct cv_datapath;

namespace culvert::datapath {

// The programs of the object. The last two are templates: each pod gets its own copy.
enum class Program : std::uint8_t {
  Connect4,
  Connect6,
  Sendmsg4,
  Sendmsg6,
  Recvmsg4,
  Recvmsg6,
  Sockops,
  Setsockopt,
  Egress,
  HoldSyn,
  PodLookup,
  PodEgress
};

// The maps that the agent reads or writes, by descriptor.
struct MapFds {
  int sock_state = -1;
  int pod_slots = -1;
  int pods = -1;
  int pod_addrs = -1;
  int excl_ports = -1;
  int excl_cidrs = -1;
  int listeners = -1;
  int counters = -1;
  int programs = -1;
  int abi = -1;
  int pod_undo = -1;
  int syn_listeners = -1;
  int syn_rings = -1;
};

class BpfObject {
 public:
  struct Settings {
    cv_abi_record abi{};
    std::uint64_t node_netns_cookie = 0;
  };
  // Loads the object; maps that are pinned are taken over, the others are made and pinned. Pins of another ABI version, or of an
  // agent with another mark, table or priority, are an error that says what to do.
  [[nodiscard]] static Result<BpfObject> load(const PinPlan& pins, const Settings& settings);

  // No programs and no maps.
  [[nodiscard]] static BpfObject none() { return BpfObject(nullptr); }
  [[nodiscard]] bool is_loaded() const noexcept { return object_ != nullptr; }

  [[nodiscard]] const MapFds& maps() const noexcept { return maps_; }
  [[nodiscard]] int program_fd(Program program) const;
  // A copy of a template for one pod; the caller owns it.
  [[nodiscard]] Result<UniqueFd> load_for_pod(Program program, std::uint32_t slot) const;

 private:
  struct Destroy {
    void operator()(cv_datapath* object) const noexcept;
  };
  explicit BpfObject(std::unique_ptr<cv_datapath, Destroy> object) : object_(std::move(object)) {}
  [[nodiscard]] const bpf_program* program(Program which) const;

  std::unique_ptr<cv_datapath, Destroy> object_;
  MapFds maps_;
};

// Makes the directory and its parents on the bpffs; the error says how to mount one.
[[nodiscard]] Result<void> make_pin_directory(const std::string& path);

}  // namespace culvert::datapath
