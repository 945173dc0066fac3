// SPDX-License-Identifier: Apache-2.0
// What the plugin answers to the runtime: text on stdout and the exit code (CNI specification 1.1, "Error" and its table of codes).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace culvert::cni_plugin {

inline constexpr std::array<std::string_view, 5> kSupportedVersions = {"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"};
inline constexpr std::string_view kNewestVersion = kSupportedVersions.back();

// X(enumerator, number). 1 to 99 are the specification's, 100 and up are ours; docs/enrolment.md says what to do about each.
#define CV_CNI_ERRORS(X)                                                            \
  X(IncompatibleVersion, 1)                                                         \
  X(InvalidEnvironment, 4)                                                          \
  X(IoFailure, 5)                                                                   \
  X(DecodingFailure, 6)                                                             \
  X(InvalidConfig, 7)                                                               \
  X(TryAgainLater, 11)                                                              \
  X(PluginNotAvailable, 50)  /* STATUS: the agent answers, and takes no pods now */ \
  X(LimitedConnectivity, 51) /* STATUS: no agent; pods of the mesh stall */         \
  X(AgentRefused, 100)       /* the agent tried and failed; the text says why */    \
  X(CheckFailed, 101)        /* the pod should be in the mesh and is not */         \
  X(ProtocolMismatch, 102)   /* agent and plugin are of different releases, or the caller is not root */

enum class CniErrorCode : std::uint8_t {
#define X(name, number) name = number,
  CV_CNI_ERRORS(X)
#undef X
};

struct CniError {
  CniErrorCode code = CniErrorCode::AgentRefused;
  std::string message;  // short: what failed
  std::string details;  // the rest: why, and what to do
};

struct Output {
  std::string text;  // stdout, ends in a newline unless empty
  int exit_code = 0;
};

[[nodiscard]] Output error_output(const CniError& error, std::string_view cni_version);
[[nodiscard]] Output version_output(std::string_view cni_version);
[[nodiscard]] bool is_supported(std::string_view cni_version) noexcept;

}  // namespace culvert::cni_plugin
