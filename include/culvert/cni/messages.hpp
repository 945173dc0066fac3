// SPDX-License-Identifier: Apache-2.0
// What the CNI plugin and the agent say to each other, declared once. A SOCK_SEQPACKET unix socket; one JSON object per
// packet; every request has one answer; a join carries the namespace's descriptor by SCM_RIGHTS, nothing else carries any.
// Encoding and decoding are pure: no descriptor, no clock. Decoding accepts unknown keys (a newer peer of the same version)
// and refuses everything else that is not as declared. docs/enrolment.md has the table of fields.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/address.hpp"
#include "base/result.hpp"

namespace culvert::cni {

inline constexpr unsigned kProtocolVersion = 1;
inline constexpr std::size_t kMessageBytesMax = std::size_t{64} << 10U;
inline constexpr std::size_t kDescriptorsMax = 1;
inline constexpr std::size_t kIdBytesMax = 128;
inline constexpr std::size_t kNameBytesMax = 253;
inline constexpr std::size_t kPathBytesMax = 4095;
inline constexpr std::size_t kAddressesMax = 16;
inline constexpr std::size_t kValidIdsMax = kMessageBytesMax / 4;  // in one gc; its bytes are the tighter limit
inline constexpr char kDefaultSocketPath[] = "/run/culvert/cni.sock";
inline constexpr char kDefaultStateDir[] = "/var/lib/culvert";
// Below the state directory: one empty file per id whose DEL found no agent. The agent takes them at its start.
inline constexpr char kTombstoneDir[] = "tombstones";

// Who decides whether the pod is in the mesh: the plugin's config did, or the agent is to.
enum class Enrol : std::uint8_t { Always, Ask };

// The pod, as CNI_ARGS name it. All three are empty or path segments of letters, digits, '.', '-', '_'.
struct PodName {
  std::string name;
  std::string namespace_name;
  std::string service_account;
  bool operator==(const PodName&) const = default;
};

struct JoinRequest {
  std::string id;       // the container id: 1 to 128 of [A-Za-z0-9._-], not starting with a dot
  std::string network;  // name of the CNI network configuration; what gc is about
  PodName pod;
  std::string netns_path;
  std::vector<IpAddress> addresses;
  Enrol enrol = Enrol::Ask;
  bool operator==(const JoinRequest&) const = default;
};
struct CheckRequest {
  std::string id;
  PodName pod;
  Enrol enrol = Enrol::Ask;  // Ask: a pod outside the mesh passes
  bool operator==(const CheckRequest&) const = default;
};
struct LeaveRequest {
  std::string id;
  bool operator==(const LeaveRequest&) const = default;
};
// Pods of `network` whose id is in (`after`, `until`] and not among `valid_ids` leave. An empty bound is none. What does not fit into one
// message comes in several, each about a range of its own (`split_gc`), so that none of them needs to know of the others.
struct GcRequest {
  std::string network;
  std::vector<std::string> valid_ids;
  std::string after;
  std::string until;
  [[nodiscard]] bool is_about(std::string_view id) const noexcept {
    return id > after && (until.empty() || id <= until);
  }
  bool operator==(const GcRequest&) const = default;
};
struct StatusRequest {
  bool operator==(const StatusRequest&) const = default;
};
struct EligibilityRequest {
  PodName pod;
  bool operator==(const EligibilityRequest&) const = default;
};
using Request = std::variant<JoinRequest, CheckRequest, LeaveRequest, GcRequest, StatusRequest, EligibilityRequest>;

enum class Membership : std::uint8_t { Unknown, Inside, Outside };

// How an answer ends. X(enumerator, word on the wire)
#define CV_CNI_ANSWERS(X)                                                                    \
  X(Ok, "ok")                                                                                \
  X(TryAgain, "try_again")     /* the agent cannot do it now: starting, draining, a limit */ \
  X(BadRequest, "bad_request") /* malformed, oversized, a field or a descriptor wrong */     \
  X(UnsupportedVersion, "unsupported_version")                                               \
  X(Denied, "denied")        /* the peer is not root */                                      \
  X(NotJoined, "not_joined") /* check: the pod should be in the mesh and is not */           \
  X(Failed, "failed")        /* tried, did not work; `message` says what and the remedy */

enum class AnswerCode : std::uint8_t {
#define X(name, word) name,
  CV_CNI_ANSWERS(X)
#undef X
};
[[nodiscard]] std::string_view to_string(AnswerCode code) noexcept;
[[nodiscard]] std::string_view to_string(Membership membership) noexcept;

struct Answer {
  AnswerCode code = AnswerCode::Ok;
  std::string message;                          // for a person; empty when Ok
  Membership membership = Membership::Unknown;  // of the pod asked about: join, check, eligibility
  std::uint32_t slot = 0;                       // join: the pod's slot, 0 when it stays outside
  bool operator==(const Answer&) const = default;
};

// One packet without its descriptor. The encoders truncate nothing: a message beyond `kMessageBytesMax` is an error.
[[nodiscard]] Result<std::string> encode(const Request& request);
// One or more requests that together say that of `network` these ids stay, each small enough to be encoded. Ids that no pod
// can have are left out.
[[nodiscard]] std::vector<GcRequest> split_gc(const std::string& network, std::vector<std::string> valid_ids);
[[nodiscard]] std::string encode(const Answer& answer);  // a long `message` is cut to 4,096 bytes
// Errors: Unsupported for another protocol version, Protocol for anything malformed.
[[nodiscard]] Result<Request> decode_request(std::string_view packet);
[[nodiscard]] Result<Answer> decode_answer(std::string_view packet);

// The rule for `id`, as enroll::PodSpec has it too.
[[nodiscard]] bool is_valid_id(std::string_view id) noexcept;
// Empty, or letters, digits, '.', '-', '_', at most `kNameBytesMax`, and neither "." nor "..".
[[nodiscard]] bool is_valid_name(std::string_view name) noexcept;

}  // namespace culvert::cni
