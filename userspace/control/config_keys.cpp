// SPDX-License-Identifier: Apache-2.0
// Lists the declared keys, and finds those whose change needs a restart. Pure.
#include "control/config_fields.hpp"

namespace culvert::control {
namespace {

class KeyLister final : public FieldVisitor {
 public:
  KeyLister(std::vector<KeyInfo>& keys, std::string prefix) : keys_(keys), prefix_(std::move(prefix)) {}

  void scalar(const Field& field, ScalarValue value) override {
    keys_.push_back({prefix_ + std::string(field.key), KeyInfo::Shape::Scalar, std::move(value.type),
                     std::move(value.range), std::move(value.choices), value.get(), field.applies,
                     std::string(field.help), field.is_required});
  }
  void list(const Field& field, ListValue value) override {
    keys_.push_back({prefix_ + std::string(field.key), KeyInfo::Shape::List, std::move(value.element_type),
                     std::move(value.range), std::move(value.choices), value.get(), field.applies,
                     std::string(field.help), field.is_required, value.size_max});
  }
  void section(std::string_view key, std::string_view help, const std::function<void(FieldVisitor&)>& visit) override {
    keys_.push_back({prefix_ + std::string(key),
                     KeyInfo::Shape::Section,
                     "section",
                     {},
                     {},
                     {},
                     Applies::Live,
                     std::string(help),
                     false});
    KeyLister inner(keys_, keys_.back().path + ".");
    visit(inner);
  }
  void items(const Field& field, const Items& items) override {
    keys_.push_back({prefix_ + std::string(field.key),
                     KeyInfo::Shape::Items,
                     "list of sections",
                     {},
                     {},
                     "[]",
                     field.applies,
                     std::string(field.help),
                     field.is_required,
                     items.size_max});
    KeyLister inner(keys_, keys_.back().path + "[].");
    items.append(inner);
    items.clear();
  }

 private:
  std::vector<KeyInfo>& keys_;
  std::string prefix_;
};

// The keys that need a restart, in the order of declaration. Lists of sections all apply while the agent runs.
class RestartFields final : public FieldVisitor {
 public:
  struct Value {
    std::string path;
    std::string text;
    Variable variable;
  };

  RestartFields(std::vector<Value>& values, std::string prefix) : values_(values), prefix_(std::move(prefix)) {}

  void scalar(const Field& field, ScalarValue value) override { take(field, value.get, value.variable); }
  void list(const Field& field, ListValue value) override { take(field, value.get, value.variable); }
  void section(std::string_view key, std::string_view, const std::function<void(FieldVisitor&)>& visit) override {
    RestartFields inner(values_, prefix_ + std::string(key) + ".");
    visit(inner);
  }
  void items(const Field&, const Items&) override {}

 private:
  void take(const Field& field, const std::function<std::string()>& get, const Variable& variable) {
    if (field.applies == Applies::Restart) values_.push_back({prefix_ + std::string(field.key), get(), variable});
  }

  std::vector<Value>& values_;
  std::string prefix_;
};

std::vector<RestartFields::Value> restart_fields(Config& config) {
  std::vector<RestartFields::Value> values;
  RestartFields visitor(values, {});
  visit_config(visitor, config);
  return values;
}

}  // namespace

std::vector<KeyInfo> config_keys() {
  std::vector<KeyInfo> keys;
  Config defaults;
  KeyLister lister(keys, {});
  visit_config(lister, defaults);
  return keys;
}

std::vector<std::string> restart_keys(const Config& running, const Config& wanted) {
  Config running_copy = running;  // visiting binds variables that it could write
  Config wanted_copy = wanted;
  const std::vector<RestartFields::Value> before = restart_fields(running_copy);
  const std::vector<RestartFields::Value> after = restart_fields(wanted_copy);
  std::vector<std::string> changed;
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (before[i].text != after[i].text) changed.push_back(before[i].path);
  }
  return changed;
}

Config effective_config(const Config& running, Config wanted) {
  Config running_copy = running;
  const std::vector<RestartFields::Value> before = restart_fields(running_copy);
  const std::vector<RestartFields::Value> after = restart_fields(wanted);
  for (std::size_t i = 0; i < before.size(); ++i)
    after[i].variable.copy(after[i].variable.address, before[i].variable.address);
  return wanted;
}

}  // namespace culvert::control
