// SPDX-License-Identifier: Apache-2.0
#include "enroll/pod_record.hpp"

#include <limits>

#include <nlohmann/json.hpp>

#include "culvert/cni/messages.hpp"
#include "enroll/json_fields.hpp"

namespace culvert::enroll {
namespace {

using nlohmann::json;

constexpr unsigned kRecordVersion = 1;
constexpr std::size_t kRulesMax = 1024;  // read back; what the maps take is the datapath's to say
constexpr auto kU64Max = std::numeric_limits<std::uint64_t>::max();

std::vector<IpAddress> read_addresses(Fields& fields) {
  std::vector<IpAddress> addresses;
  for (const std::string& text : fields.texts("addresses", cni::kAddressesMax, 64)) {
    if (const auto address = IpAddress::parse(text)) {
      addresses.push_back(*address);
    } else {
      fields.error(address.error().message());
    }
  }
  return addresses;
}

std::vector<datapath::PortRule> read_ports(Fields& fields) {
  std::vector<datapath::PortRule> rules;
  const json* array = fields.array("excluded_ports", kRulesMax);
  if (array == nullptr) return rules;
  for (const json& element : *array) {
    Fields rule(element, "\"excluded_ports\"");
    const auto port = static_cast<std::uint16_t>(rule.number("port", 65'535));
    const bool is_inbound = rule.boolean("inbound");
    if (const auto finished = rule.finish(ErrorCode::InvalidArgument); !finished)
      fields.error(finished.error().message());
    rules.push_back({port, is_inbound});
  }
  return rules;
}

std::vector<datapath::CidrRule> read_cidrs(Fields& fields) {
  std::vector<datapath::CidrRule> rules;
  const json* array = fields.array("excluded_cidrs", kRulesMax);
  if (array == nullptr) return rules;
  for (const json& element : *array) {
    Fields rule(element, "\"excluded_cidrs\"");
    const std::string text = rule.text("cidr", 64);
    const bool is_inbound = rule.boolean("inbound");
    const auto cidr = Cidr::parse(text);
    if (rule.ok() && !cidr) rule.error(cidr.error().message());
    if (const auto finished = rule.finish(ErrorCode::InvalidArgument); !finished)
      fields.error(finished.error().message());
    if (cidr) rules.push_back({*cidr, is_inbound});
  }
  return rules;
}

}  // namespace

std::string encode(const PodRecord& record) {
  const PodSpec& spec = record.spec;
  json addresses = json::array();
  for (const IpAddress& address : spec.addresses) addresses.push_back(address.to_string());
  json ports = json::array();
  for (const auto& rule : spec.excluded_ports) ports.push_back({{"port", rule.port}, {"inbound", rule.is_inbound}});
  json cidrs = json::array();
  for (const auto& rule : spec.excluded_cidrs)
    cidrs.push_back({{"cidr", rule.cidr.to_string()}, {"inbound", rule.is_inbound}});
  json document = {{"version", kRecordVersion},
                   {"id", spec.id},
                   {"name", spec.name},
                   {"namespace", spec.namespace_name},
                   {"service_account", spec.service_account},
                   {"netns_path", spec.netns_path},
                   {"addresses", std::move(addresses)},
                   {"excluded_ports", std::move(ports)},
                   {"excluded_cidrs", std::move(cidrs)},
                   {"bypass_inbound", spec.bypass_inbound},
                   {"cni_network", spec.cni_network},
                   {"is_from_file", spec.is_from_file},
                   {"slot", record.slot},
                   {"netns_cookie", record.netns_cookie},
                   {"netns_device", record.netns_id.device},
                   {"netns_inode", record.netns_id.inode},
                   {"is_leaving", record.is_leaving}};
  // Only where it is set: an older agent refuses records with keys that it does not know.
  if (spec.answer_syn) document["answer_syn"] = to_string(*spec.answer_syn);
  return dump(document, 1) + "\n";
}

Result<PodRecord> decode_pod_record(std::string_view text) {
  const json document = json::parse(text, nullptr, false);
  if (document.is_discarded()) return fail(ErrorCode::InvalidArgument, "is not JSON");
  Fields fields(document, "the record");
  if (fields.number("version", 1'000'000) != kRecordVersion) fields.wrong("version", "1");
  PodRecord record;
  PodSpec& spec = record.spec;
  spec.id = fields.text("id", cni::kIdBytesMax);
  spec.name = fields.text("name", cni::kNameBytesMax);
  spec.namespace_name = fields.text("namespace", cni::kNameBytesMax);
  spec.service_account = fields.text("service_account", cni::kNameBytesMax);
  spec.netns_path = fields.text("netns_path", cni::kPathBytesMax);
  spec.addresses = read_addresses(fields);
  spec.excluded_ports = read_ports(fields);
  spec.excluded_cidrs = read_cidrs(fields);
  spec.bypass_inbound = fields.boolean("bypass_inbound");
  if (const std::string word = fields.text("answer_syn", 32, Need::Optional); !word.empty()) {
    spec.answer_syn = parse_answer_syn(word);
    if (!spec.answer_syn) fields.wrong("answer_syn", "at_once or after_connect");
  }
  spec.cni_network = fields.text("cni_network", cni::kNameBytesMax);
  spec.is_from_file = fields.boolean("is_from_file", Need::Optional);
  record.slot = static_cast<std::uint32_t>(fields.number("slot", std::numeric_limits<std::uint32_t>::max()));
  record.netns_cookie = fields.number("netns_cookie", kU64Max);
  record.netns_id.device = fields.number("netns_device", kU64Max);
  record.netns_id.inode = fields.number("netns_inode", kU64Max);
  record.is_leaving = fields.boolean("is_leaving");
  CV_TRY(fields.finish(ErrorCode::InvalidArgument));
  CV_TRY(validate(spec));
  if (record.slot == 0) return fail(ErrorCode::InvalidArgument, "has no slot");
  return record;
}

Result<void> validate(const PodSpec& spec) {
  if (!cni::is_valid_id(spec.id)) {
    return fail(ErrorCode::InvalidArgument,
                "pod id \"{}\" is not 1 to {} letters, digits, '.', '_', '-' without a dot in front", spec.id,
                cni::kIdBytesMax);
  }
  for (const auto& [what, value] : {std::pair("name", &spec.name), std::pair("namespace", &spec.namespace_name),
                                    std::pair("service account", &spec.service_account)}) {
    if (value->empty() || !cni::is_valid_name(*value)) {
      return fail(ErrorCode::InvalidArgument, "pod {}: {} \"{}\" is not 1 to {} letters, digits, '.', '_', '-'",
                  spec.id, what, *value, cni::kNameBytesMax);
    }
  }
  if (spec.capture == Capture::Programs &&
      (spec.netns_path.empty() || spec.netns_path.front() != '/' || spec.netns_path.size() > cni::kPathBytesMax)) {
    return fail(ErrorCode::InvalidArgument, "pod {}: network namespace \"{}\" is not an absolute path", spec.id,
                spec.netns_path);
  }
  if (spec.addresses.size() > cni::kAddressesMax) {
    return fail(ErrorCode::InvalidArgument, "pod {} has {} addresses; at most {} are taken", spec.id,
                spec.addresses.size(), cni::kAddressesMax);
  }
  for (const IpAddress& address : spec.addresses) {
    if (address.is_loopback() || address.is_unspecified()) {
      return fail(ErrorCode::InvalidArgument, "pod {}: {} cannot be a pod's address", spec.id, address.to_string());
    }
  }
  return {};
}

}  // namespace culvert::enroll
