// SPDX-License-Identifier: Apache-2.0
// The labels of Istio's traffic metrics, as the exposition writes them: made once for each end of a connection and kept as text. Pure; any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace culvert::telemetry {

enum class Reporter : std::uint8_t { Source, Destination };
enum class SecurityPolicy : std::uint8_t { Unknown, MutualTls };

[[nodiscard]] std::string_view to_string(Reporter reporter) noexcept;      // "source", "destination"
[[nodiscard]] std::string_view to_string(SecurityPolicy policy) noexcept;  // "unknown", "mutual_tls"

// What stands for a value that is empty, or longer than any name in a mesh.
inline constexpr std::string_view kUnknownLabel = "unknown";
inline constexpr std::size_t kLabelBytesMax = 512;
// The value of every label that tells of workloads and services, of connections beyond the limit of label sets.
inline constexpr std::string_view kOverflowLabel = "overflow";

// One end of a connection.
struct TrafficParty {
  bool is_known = false;  // of somebody in the mesh; locality is told where either end is
  std::string_view workload{};
  std::string_view canonical_service{};
  std::string_view canonical_revision{};
  std::string_view namespace_name{};
  std::string_view principal{};
  std::string_view app{};
  std::string_view version{};
  std::string_view cluster{};
  std::string_view region{};
  std::string_view zone{};
};
struct TrafficService {
  std::string_view hostname{};
  std::string_view namespace_name{};
  std::string_view name{};
};

// A part of a label set: name="value" pairs with commas between. Equal parts have equal text.
struct LabelText {
  std::string text;            // first the labels, then the locality
  std::uint32_t labels_bytes;  // of `text`
  std::uint64_t hash;          // of `text`

  [[nodiscard]] std::string_view labels() const noexcept { return std::string_view(text).substr(0, labels_bytes); }
  [[nodiscard]] std::string_view locality() const noexcept { return std::string_view(text).substr(labels_bytes); }
};

[[nodiscard]] LabelText source_text(const TrafficParty& party);
[[nodiscard]] LabelText destination_text(const TrafficParty& party);
[[nodiscard]] LabelText service_text(const TrafficService& service);
// hostname="..." of a name that was asked of DNS.
[[nodiscard]] LabelText hostname_text(std::string_view hostname);

// A whole label set without its response flag. Immutable once made: any thread may read it.
struct LabelSet {
  enum class Kind : std::uint8_t {
    Traffic,
    NameLookup,  // istio_on_demand_dns_total: `source`, and the hostname as `service`
  };
  Kind kind = Kind::Traffic;
  Reporter reporter = Reporter::Source;
  SecurityPolicy policy = SecurityPolicy::Unknown;
  std::shared_ptr<const LabelText> source;
  std::shared_ptr<const LabelText> service;
  std::shared_ptr<const LabelText> destination;  // null for NameLookup

  [[nodiscard]] std::uint64_t hash() const noexcept;
  // By content.
  bool operator==(const LabelSet& other) const noexcept;
};

// Appends {name="value",...} in Istio's order. `flag` is of kResponseFlags; NameLookup has none.
void append_labels(std::string& out, const LabelSet& labels, std::string_view flag);

// One word from several, spread over all of its bits.
[[nodiscard]] constexpr std::uint64_t mix_hash(std::uint64_t seed, std::uint64_t value) noexcept {
  std::uint64_t mixed = (seed ^ value) * 0x9e37'79b9'7f4a'7c15ULL;
  mixed ^= mixed >> 32U;
  mixed *= 0xd6e8'feb8'6659'fd93ULL;
  return mixed ^ mixed >> 29U;
}

}  // namespace culvert::telemetry
