// SPDX-License-Identifier: Apache-2.0
// PolicyIndex: the authorization policies of a snapshot, as a decision asks for them. Immutable once it is in a snapshot; a change of policies
// makes a new index, which shares the policies themselves.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "state/authorization.hpp"
#include "state/prepared_policy.hpp"

namespace culvert::state {

class PolicyIndex {
 public:
  using Policy = std::shared_ptr<const PreparedPolicy>;

  // Replaces the one with the same key.
  void insert(Authorization policy) { insert(std::make_shared<const PreparedPolicy>(std::move(policy))); }
  void insert(Policy policy);
  // False: there was none.
  bool remove(std::string_view namespace_name, std::string_view name);

  // `key`: "NAMESPACE/NAME". Null: unknown.
  [[nodiscard]] const Authorization* find(std::string_view key) const noexcept { return get(key).get(); }
  [[nodiscard]] const Policy& get(std::string_view key) const noexcept;
  // With scope Global, and with scope Namespace and this namespace.
  [[nodiscard]] std::span<const Policy> global() const noexcept { return global_; }
  [[nodiscard]] std::span<const Policy> of_namespace(std::string_view namespace_name) const noexcept;
  [[nodiscard]] std::size_t size() const noexcept { return by_key_.size(); }
  template <typename Visit>
  void for_each(Visit&& visit) const {
    for (const auto& [key, policy] : by_key_) visit(*policy);
  }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept { return std::hash<std::string_view>{}(text); }
  };
  void unlist(const Policy& policy);

  std::unordered_map<std::string, Policy, Hash, std::equal_to<>> by_key_;
  std::vector<Policy> global_;
  std::unordered_map<std::string, std::vector<Policy>, Hash, std::equal_to<>> by_namespace_;
};

}  // namespace culvert::state
