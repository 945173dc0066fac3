// SPDX-License-Identifier: Apache-2.0
#include "control/demand_table.hpp"

#include <iterator>
#include <utility>

namespace culvert::control {

void DemandTable::want(const std::string& name, std::uint64_t now_ms, std::vector<std::string>& dropped) {
  if (contains(name)) return;
  if (places_.size() >= kNamesMax) give_up(absent_.empty() ? asked_ : absent_, dropped);
  asked_.push_back({name, now_ms});
  places_.emplace(asked_.back().name, std::prev(asked_.end()));
  ++unsaid_;
  is_in_order_ = is_in_order_ || unsubscribe_.contains(name);
}

// `is_subscribed`: it stays subscribed under that name.
void DemandTable::leave(const Entry& entry, bool is_subscribed) {
  places_.erase(entry.name);
  if (!entry.is_said) {
    --unsaid_;
  } else if (!is_subscribed) {
    unsubscribe_.insert(entry.name);
  }
}

void DemandTable::give_up(Entries& entries, std::vector<std::string>& dropped) {
  leave(entries.front(), false);
  dropped.push_back(std::move(entries.front().name));
  entries.pop_front();
}

void DemandTable::set_absent(const std::string& name, std::uint64_t now_ms) {
  const auto found = places_.find(name);
  if (found == places_.end()) return;
  const Entries::iterator entry = found->second;
  absent_.splice(absent_.end(), entry->is_absent ? absent_ : asked_, entry);
  entry->is_absent = true;
  entry->since_ms = now_ms;
}

void DemandTable::set_found(const std::string& name, bool is_alias) {
  const auto found = places_.find(name);
  if (found == places_.end()) return;
  const Entries::iterator entry = found->second;
  leave(*entry, !is_alias);
  (entry->is_absent ? absent_ : asked_).erase(entry);
}

std::vector<std::string> DemandTable::expire(std::uint64_t now_ms, bool is_connected) {
  std::vector<std::string> gone;
  while (!asked_.empty() && asked_.front().since_ms + kUnansweredMs <= now_ms) give_up(asked_, gone);
  if (!is_connected) return gone;
  while (!absent_.empty() && absent_.front().since_ms + kAbsentMs <= now_ms) give_up(absent_, gone);
  return gone;
}

void DemandTable::restart() {
  unsubscribe_.clear();
  is_in_order_ = false;
  for (Entries* entries : {&asked_, &absent_}) {
    for (Entry& entry : *entries) entry.is_said = false;
  }
  unsaid_ = places_.size();
}

void DemandTable::say(Entries& entries, std::vector<std::string>& names) {
  // They stand at the end, but for one whose answer to an earlier question came before it was put again.
  for (auto entry = entries.rbegin(); entry != entries.rend() && unsaid_ > 0; ++entry) {
    if (std::exchange(entry->is_said, true)) continue;
    --unsaid_;
    names.push_back(entry->name);
  }
}

std::vector<DemandTable::Changes> DemandTable::take_changes() {
  std::vector<Changes> all;
  Changes changes;
  changes.unsubscribe.assign(unsubscribe_.begin(), unsubscribe_.end());
  unsubscribe_.clear();
  if (std::exchange(is_in_order_, false) && !changes.unsubscribe.empty()) all.push_back(std::exchange(changes, {}));
  say(asked_, changes.subscribe);
  say(absent_, changes.subscribe);
  if (!changes.is_empty()) all.push_back(std::move(changes));
  return all;
}

}  // namespace culvert::control
