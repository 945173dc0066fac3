// SPDX-License-Identifier: Apache-2.0
// From text to Config. Pure; the one place that catches yaml-cpp's exceptions.
#include <optional>
#include <sstream>

#include <yaml-cpp/eventhandler.h>

#include "control/config.hpp"
#include "control/config_check.hpp"
#include "control/config_reader.hpp"

namespace culvert::control {
namespace {

// The mark of a key that `path` names, or of the nearest map above it that the document has.
YAML::Mark find_mark(const YAML::Node& root, std::string_view path) {
  YAML::Node node;
  node.reset(root);
  YAML::Mark mark = root.Mark();
  while (!path.empty()) {
    if (path.front() == '[') {
      const std::size_t close = path.find(']');
      const auto index = std::stoul(std::string(path.substr(1, close - 1)));
      path.remove_prefix(close + 1);
      if (!node.IsSequence() || index >= node.size()) return mark;
      const YAML::Node& parent = node;  // const: looking does not insert
      node.reset(parent[index]);
    } else {
      if (path.front() == '.') path.remove_prefix(1);
      const std::string key(path.substr(0, path.find_first_of(".[")));
      path.remove_prefix(key.size());
      if (!node.IsMap()) return mark;
      const YAML::Node& parent = node;
      const YAML::Node child = parent[key];
      if (!child.IsDefined()) return mark;
      node.reset(child);
    }
    mark = node.Mark();
  }
  return mark;
}

// Sees where documents begin, and nothing else.
class DocumentStarts final : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark& mark) override { last = mark; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}

  YAML::Mark last;
};

// Where something follows the first document. YAML::Load ignores it; YAML::LoadAll of 0.7 never ends where a document begins with
// a stray ',' or the like, since that is taken for an empty document again and again.
std::optional<YAML::Mark> find_rest(const std::string& text) {
  std::istringstream stream(text);
  YAML::Parser parser(stream);
  DocumentStarts starts;
  if (!parser.HandleNextDocument(starts) || !parser.HandleNextDocument(starts)) return std::nullopt;
  return starts.last;
}

void fill_defaults(Config& config) {
  if (config.admin.socket.empty()) config.admin.socket = config.run_dir + kAdminSocketName;
  if (config.identity.embedded.directory.empty()) config.identity.embedded.directory = config.state_dir + "/ca";
  for (ServiceConfig& service : config.mesh.services) {
    if (service.hostname.empty()) service.hostname = service.name + "." + service.namespace_name + ".svc.cluster.local";
  }
  for (PodConfig& pod : config.pods) {
    if (pod.name.empty()) pod.name = pod.id;
  }
}

Result<Config> parse_document(std::string_view text, ConfigErrors& errors) {
  const std::string document(text);
  if (const std::optional<YAML::Mark> rest = find_rest(document); rest) {
    errors.add(*rest, {},
               "this does not belong to the first document; write one map, without \"---\" or \"...\" in between");
    return std::unexpected(errors.to_error());
  }
  const YAML::Node root = YAML::Load(document);
  Config config;
  const KeyPath top;
  ConfigReader reader(root, top, errors);
  visit_config(reader, config);
  reader.finish();
  fill_defaults(config);
  // The checks across keys assume that each key is sound.
  if (errors.is_empty()) {
    check_config(config, [&errors, &root](const std::string& path, const std::string& what) {
      errors.add(find_mark(root, path), path, what);
      return !errors.is_full();
    });
  }
  if (!errors.is_empty()) return std::unexpected(errors.to_error());
  return config;
}

}  // namespace

Result<Config> parse_config(std::string_view text, std::string_view filename) {
  ConfigErrors errors(filename);
  if (text.size() > kConfigBytesMax) {
    return fail(ErrorCode::InvalidArgument, "{}: {} bytes is too large; at most {} are read", filename, text.size(),
                kConfigBytesMax);
  }
  try {
    return parse_document(text, errors);
  } catch (const YAML::Exception& error) {
    errors.add(error.mark, {}, fmt::format("not YAML: {}", error.msg));
    return std::unexpected(errors.to_error());
  }
}

}  // namespace culvert::control
