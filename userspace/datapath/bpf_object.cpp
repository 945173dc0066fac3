// SPDX-License-Identifier: Apache-2.0
#include "datapath/bpf_object.hpp"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "cv_datapath.skel.h"

namespace culvert::datapath {
namespace {

constexpr long kBpfFsMagic = 0xcafe4a11L;

// The end of what libbpf last complained of on this thread: when a program is refused, the verifier's last words.
thread_local std::string last_complaint;  // NOLINT: libbpf's print hook has no context

int keep_complaint(libbpf_print_level level, const char* format, va_list arguments) {
  if (level != LIBBPF_WARN) return 0;
  std::array<char, 4096> line{};
  const int bytes = std::vsnprintf(line.data(), line.size(), format, arguments);
  last_complaint.append(line.data(),
                        std::min<std::size_t>(static_cast<std::size_t>(std::max(bytes, 0)), line.size() - 1));
  constexpr std::size_t kKept = 1500;
  if (last_complaint.size() > kKept) last_complaint.erase(0, last_complaint.size() - kKept);
  return 0;
}

Result<void> check_abi(const PinPlan& pins, const cv_abi_record& wanted) {
  const UniqueFd fd(bpf_obj_get(pins.map("cv_abi").c_str()));
  if (!fd) {
    if (errno == ENOENT) return {};
    return fail_errno(errno, "cannot open {}", pins.map("cv_abi"));
  }
  const __u32 key = 0;
  cv_abi_record found{};
  if (bpf_map_lookup_elem(fd.get(), &key, &found) != 0) return fail_errno(errno, "cannot read {}", pins.map("cv_abi"));
  if (found.version == 0) return {};  // made, but its maker died before it wrote
  if (found.version != wanted.version)
    return fail(
        ErrorCode::Unsupported,
        "{} holds maps of ABI version {}, this agent speaks {}; let all pods leave with the old agent, or remove the "
        "directory while no pod is joined",
        pins.root, found.version, wanted.version);
  if (found.mark != wanted.mark || found.route_table != wanted.route_table ||
      found.rule_priority != wanted.rule_priority)
    return fail(
        ErrorCode::InvalidArgument,
        "{} was made with mark {:#x}, table {}, priority {}; live connections depend on them: give the same values, or "
        "remove the directory while no pod is joined",
        pins.root, found.mark, found.route_table, found.rule_priority);
  return {};
}

}  // namespace

Result<void> make_pin_directory(const std::string& path) {
  for (std::size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1))
    ::mkdir(path.substr(0, slash).c_str(), 0700);
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return fail_errno(errno, "cannot make {}", path);
  struct statfs info{};
  if (::statfs(path.c_str(), &info) != 0) return fail_errno(errno, "cannot look at {}", path);
  if (info.f_type != kBpfFsMagic)
    return fail(ErrorCode::InvalidArgument, "{} is not on a bpffs; mount one: mount -t bpf bpf /sys/fs/bpf", path);
  return {};
}

void BpfObject::Destroy::operator()(cv_datapath* object) const noexcept { cv_datapath::destroy(object); }

Result<BpfObject> BpfObject::load(const PinPlan& pins, const Settings& settings) {
  CV_TRY(make_pin_directory(pins.maps()));
  CV_TRY(make_pin_directory(pins.links()));
  CV_TRY(make_pin_directory(pins.pods()));
  CV_TRY(check_abi(pins, settings.abi));

  libbpf_set_print(keep_complaint);
  last_complaint.clear();
  BpfObject object{std::unique_ptr<cv_datapath, Destroy>(cv_datapath::open())};
  if (!object.object_) return fail_errno(errno, "cannot read the built-in BPF object: {}", last_complaint);
  auto& skeleton = *object.object_;
  skeleton.rodata->cv_mark = settings.abi.mark;
  skeleton.rodata->cv_node_netns_cookie = settings.node_netns_cookie;
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, skeleton.obj) {
    // .rodata belongs to the programs of one agent, and so does what its listeners' filter reads and fills.
    if (bpf_map__is_internal(map) || map == skeleton.maps.cv_syn_listeners || map == skeleton.maps.cv_syn_rings)
      continue;
    if (const int error = bpf_map__set_pin_path(map, pins.map(bpf_map__name(map)).c_str()); error != 0)
      return fail_errno(-error, "cannot pin {}", bpf_map__name(map));
  }
  if (const int error = cv_datapath::load(&skeleton); error != 0)
    return fail_errno(-error,
                      "cannot load the BPF programs; culvertd needs CAP_BPF and CAP_NET_ADMIN, and Linux 6.1 or newer; "
                      "the kernel says: {}",
                      last_complaint);
  const auto& maps = skeleton.maps;
  object.maps_ = {.sock_state = bpf_map__fd(maps.cv_sock_state),
                  .pod_slots = bpf_map__fd(maps.cv_pod_slots),
                  .pods = bpf_map__fd(maps.cv_pods),
                  .pod_addrs = bpf_map__fd(maps.cv_pod_addrs),
                  .excl_ports = bpf_map__fd(maps.cv_excl_ports),
                  .excl_cidrs = bpf_map__fd(maps.cv_excl_cidrs),
                  .listeners = bpf_map__fd(maps.cv_listeners),
                  .counters = bpf_map__fd(maps.cv_counters),
                  .programs = bpf_map__fd(maps.cv_programs),
                  .abi = bpf_map__fd(maps.cv_abi),
                  .pod_undo = bpf_map__fd(maps.cv_pod_undo),
                  .syn_listeners = bpf_map__fd(maps.cv_syn_listeners),
                  .syn_rings = bpf_map__fd(maps.cv_syn_rings)};
  const __u32 key = 0;
  if (bpf_map_update_elem(object.maps_.abi, &key, &settings.abi, BPF_ANY) != 0)
    return fail_errno(errno, "cannot write the ABI version");
  // From here on the pods of an earlier agent run this agent's program.
  const __u32 index = CV_PROGRAM_EGRESS;
  const int egress = object.program_fd(Program::Egress);
  if (bpf_map_update_elem(object.maps_.programs, &index, &egress, BPF_ANY) != 0)
    return fail_errno(errno, "cannot put the egress program in place");
  return object;
}

const bpf_program* BpfObject::program(Program which) const {
  const auto& programs = object_->progs;
  switch (which) {
    case Program::Connect4: return programs.cv_connect4;
    case Program::Connect6: return programs.cv_connect6;
    case Program::Sendmsg4: return programs.cv_sendmsg4;
    case Program::Sendmsg6: return programs.cv_sendmsg6;
    case Program::Recvmsg4: return programs.cv_recvmsg4;
    case Program::Recvmsg6: return programs.cv_recvmsg6;
    case Program::Sockops: return programs.cv_sockops;
    case Program::Setsockopt: return programs.cv_setsockopt;
    case Program::Egress: return programs.cv_egress_all;
    case Program::HoldSyn: return programs.cv_hold_syn;
    case Program::PodLookup: return programs.cv_pod_lookup;
    case Program::PodEgress: return programs.cv_pod_egress;
  }
  return nullptr;
}

int BpfObject::program_fd(Program which) const { return bpf_program__fd(program(which)); }

Result<UniqueFd> BpfObject::load_for_pod(Program which, std::uint32_t slot) const {
  const bpf_program* source = program(which);
  const bpf_insn* begin = bpf_program__insns(source);
  // libbpf has put the maps' descriptors in already; what differs per pod is the one constant that stands for the slot.
  std::vector<bpf_insn> instructions(begin, begin + bpf_program__insn_cnt(source));
  unsigned replaced = 0;
  for (std::size_t i = 0; i + 1 < instructions.size(); ++i) {
    auto& low = instructions[i];
    auto& high = instructions[i + 1];
    if (low.code != (BPF_LD | BPF_IMM | BPF_DW) || low.src_reg != 0) continue;
    const auto value = static_cast<std::uint64_t>(static_cast<std::uint32_t>(low.imm)) |
                       static_cast<std::uint64_t>(static_cast<std::uint32_t>(high.imm)) << 32;
    if (value == CV_SLOT_TEMPLATE) {
      low.imm = static_cast<__s32>(slot);
      high.imm = 0;
      ++replaced;
    }
    ++i;
  }
  if (replaced == 0) return fail(ErrorCode::Unsupported, "{} has no place for the slot", bpf_program__name(source));
  bpf_prog_load_opts options{};
  options.sz = sizeof(options);
  options.expected_attach_type = bpf_program__expected_attach_type(source);
  options.attempts = 100;  // a signal, such as a profile's, interrupts the verifier
  const int fd = bpf_prog_load(bpf_program__type(source), bpf_program__name(source), "Dual BSD/GPL",
                               instructions.data(), instructions.size(), &options);
  if (fd < 0) return fail_errno(-fd, "cannot load {} for slot {}", bpf_program__name(source), slot);
  return UniqueFd(fd);
}

}  // namespace culvert::datapath
