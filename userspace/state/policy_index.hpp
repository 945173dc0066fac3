// SPDX-License-Identifier: Apache-2.0
// PolicyIndex: the authorization policies of a snapshot, as a decision asks for them. Copies share what did not change: a change costs by the number of
// policies of one namespace (four bytes each), whatever that of all. Immutable once it is in a snapshot.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "state/authorization.hpp"
#include "state/prepared_policy.hpp"
#include "state/shared_index.hpp"
#include "state/shared_slots.hpp"

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
  // Those with scope Global, and those with scope Namespace and this namespace, in the order in which they came or were last replaced.
  template <typename Visit>
  void for_each_global(Visit&& visit) const {
    for (const std::uint32_t number : *global_) visit(policies_[number]);
  }
  template <typename Visit>
  void for_each_in(std::string_view namespace_name, Visit&& visit) const {
    const std::uint32_t group = find_group(namespace_name);
    if (group == SharedIndex::kNone) return;
    for (const std::uint32_t number : groups_[group]->policies) visit(policies_[number]);
  }
  [[nodiscard]] std::size_t size() const noexcept { return by_key_.size(); }
  template <typename Visit>
  void for_each(Visit&& visit) const {
    for (std::uint32_t i = 0; i < policies_.end(); ++i) {
      if (policies_[i] != nullptr) visit(*policies_[i]);
    }
  }

 private:
  using Numbers = std::vector<std::uint32_t>;
  struct Group {
    std::string namespace_name;
    Numbers policies;  // with scope Namespace
  };
  [[nodiscard]] std::uint32_t find_number(std::string_view key) const noexcept;
  [[nodiscard]] std::uint32_t find_group(std::string_view namespace_name) const noexcept;
  void list(std::uint32_t number);
  void unlist(std::uint32_t number);

  SharedSlots<Policy> policies_;  // null: the number is free
  SharedIndex by_key_;
  std::shared_ptr<const Numbers> global_ = std::make_shared<const Numbers>();
  SharedSlots<std::shared_ptr<const Group>> groups_;
  SharedIndex by_namespace_;  // to groups_
};

}  // namespace culvert::state
