// SPDX-License-Identifier: Apache-2.0
// The published schema, the table of keys and the example say what the parser says. `unit_control [.schema]` and `[.table]` print
// what belongs into docs/config.schema.json and docs/operations.md.
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>

#include <fmt/ranges.h>
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "control/config_fields.hpp"
#include "control/cpu_allotment.hpp"

namespace culvert::control {
namespace {

using Json = nlohmann::ordered_json;

std::string read_doc(const std::string& name) {
  const std::ifstream file(std::string(CULVERT_DOCS_DIR) + "/" + name);
  REQUIRE(file);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

Json scalar_schema(const KeyInfo& key) {
  if (key.type == "boolean") return {{"type", "boolean"}};
  if (key.type == "choice") return {{"type", "string"}, {"enum", key.choices}};
  if (key.type == "duration") return {{"type", "string"}, {"pattern", "^(0|[0-9]+(ms|s|m|h))$"}};
  if (key.type == "size") return {{"type", "string"}, {"pattern", "^[0-9]+(B|KiB|MiB|GiB)$"}};
  if (key.type == "path") return {{"type", "string"}, {"pattern", "^/"}};
  if (key.type == "percent") return {{"type", "number"}, {"minimum", 0}, {"maximum", 100}};
  if (key.type == "integer" || key.type == "port") {
    const std::size_t to = key.range.find(" to ");
    return {
        {"type", "integer"}, {"minimum", std::stoull(key.range)}, {"maximum", std::stoull(key.range.substr(to + 4))}};
  }
  return {{"type", "string"}};
}

Json node_schema(const KeyInfo& key) {
  Json node;
  if (key.shape == KeyInfo::Shape::Scalar) node = scalar_schema(key);
  if (key.shape == KeyInfo::Shape::List)
    node = {{"type", "array"}, {"uniqueItems", true}, {"maxItems", key.size_max}, {"items", scalar_schema(key)}};
  if (key.shape == KeyInfo::Shape::Section) node = {{"type", "object"}, {"additionalProperties", false}};
  if (key.shape == KeyInfo::Shape::Items) {
    node = {{"type", "array"},
            {"maxItems", key.size_max},
            {"items", {{"type", "object"}, {"additionalProperties", false}}}};
  }
  node["description"] = key.help;
  return node;
}

// The object whose properties a path's last part belongs to.
Json& object_for(Json& root, std::string_view path) {
  Json* object = &root;
  for (std::size_t dot = path.find('.'); dot != std::string_view::npos; dot = path.find('.')) {
    std::string part(path.substr(0, dot));
    const bool is_items = part.ends_with("[]");
    if (is_items) part.resize(part.size() - 2);
    object = &(*object)["properties"][part];
    if (is_items) object = &(*object)["items"];
    path.remove_prefix(dot + 1);
  }
  return *object;
}

Json schema() {
  Json root = {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
               {"title", "culvertd configuration"},
               {"type", "object"},
               {"additionalProperties", false}};
  for (const KeyInfo& key : config_keys()) {
    Json& object = object_for(root, key.path);
    const std::string name = key.path.substr(key.path.rfind('.') + 1);
    object["properties"][name] = node_schema(key);
    if (key.is_required) object["required"].push_back(name);
  }
  return root;
}

std::string default_in_table(const KeyInfo& key) {
  static const std::map<std::string, std::string> kFilledIn = {
      {"node_name", "the host's name"},
      {"bpf.cgroup", "found"},
      {"node_netns", "the agent's own"},
      {"admin.socket", "`RUN_DIR/admin.sock`"},
      {"admin.local_port", "`15000` in a cluster"},
      {"identity.embedded.directory", "`STATE_DIR/ca`"},
      {"workers", "one per CPU"},
      {"busy_wait_us", fmt::format("{}; 0 with one CPU or a quota", kBusyWaitUs)}};
  if (const auto found = kFilledIn.find(key.path); found != kFilledIn.end()) return found->second;
  if (key.is_required) return "required";
  return key.default_text.empty() ? "none" : "`" + key.default_text + "`";
}

// One row of the table of keys in docs/operations.md.
std::string table_row(const KeyInfo& key) {
  const std::string type = key.shape == KeyInfo::Shape::List ? "list of " + key.type : key.type;
  std::string range = key.range;
  if (key.size_max != 0) range += fmt::format("{}up to {} entries", range.empty() ? "" : "; ", key.size_max);
  if (!key.choices.empty()) range = fmt::format("`{}`", fmt::join(key.choices, "`, `"));
  return fmt::format("| `{}` | {} | {} | {} | {} | {} |", key.path, type, default_in_table(key), range,
                     key.applies == Applies::Live ? "live" : "restart", key.help);
}

bool is_in_table(const KeyInfo& key) {
  return key.shape == KeyInfo::Shape::Scalar || key.shape == KeyInfo::Shape::List;
}

TEST_CASE("the published schema is what the parser accepts") {
  const Json published = Json::parse(read_doc("config.schema.json"), nullptr, false);
  REQUIRE_FALSE(published.is_discarded());
  CHECK(published == schema());
}

TEST_CASE("the table of keys in docs/operations.md has every key as the parser has it, and no other") {
  const std::string text = read_doc("operations.md");
  std::size_t count = 0;
  for (const KeyInfo& key : config_keys()) {
    if (!is_in_table(key)) continue;
    ++count;
    CHECK_THAT(text, Catch::Contains(table_row(key)));
  }
  const std::size_t begin = text.find("<!-- keys -->");
  const std::size_t end = text.find("<!-- end of keys -->");
  REQUIRE(begin < end);
  REQUIRE(end != std::string::npos);
  std::size_t rows = 0;
  for (std::size_t at = begin; (at = text.find("\n| `", at)) < end; ++at) ++rows;
  CHECK(rows == count);
}

TEST_CASE("the example parses") {
  const Result<Config> config = parse_config(read_doc("examples/node.yaml"), "node.yaml");
  INFO((config ? std::string() : config.error().message()));
  REQUIRE(config);
  CHECK(config->mesh.workloads.size() == 4);
  CHECK(config->mesh.services.size() == 2);
  CHECK(config->pods.size() == 1);
}

TEST_CASE("every default is a value that the parser accepts", "[defaults]") {
  for (const KeyInfo& key : config_keys()) {
    if (key.shape != KeyInfo::Shape::Scalar || key.default_text.empty()) continue;
    if (key.path.find('[') != std::string::npos) continue;
    std::string text;
    std::string indent;
    std::string_view rest = key.path;
    for (std::size_t dot = rest.find('.'); dot != std::string_view::npos; dot = rest.find('.')) {
      text += fmt::format("{}{}:\n", indent, rest.substr(0, dot));
      indent += "  ";
      rest.remove_prefix(dot + 1);
    }
    text += fmt::format("{}{}: {}\n", indent, rest, key.default_text);
    CAPTURE(text);
    CHECK(parse_config(text, "default"));
  }
}

TEST_CASE("prints the schema", "[.schema]") { std::cout << schema().dump(2) << '\n'; }

TEST_CASE("prints the table", "[.table]") {
  for (const KeyInfo& key : config_keys()) {
    if (is_in_table(key)) std::cout << table_row(key) << '\n';
  }
}

}  // namespace
}  // namespace culvert::control
