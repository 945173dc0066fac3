// SPDX-License-Identifier: Apache-2.0
// DemandTable: the names that a control plane was asked for one by one and that are nobody's as far as it has said: not answered yet, or absent. What
// is somebody's is not in here, but in the store. Values in, values out; the caller has the clock. Control thread.
//
// An absent name is given up after kAbsentMs, and asked for again when it is wanted again: istiod tells of a new workload to those who know its uid
// or a service of it, not to those who once asked for its address. A name without an answer is given up after kUnansweredMs: the
// request, or the answer, may have been lost. Of more than kNamesMax names the oldest go first, absent ones before others.
#pragma once

#include <cstdint>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace culvert::control {

class DemandTable {
 public:
  static constexpr std::size_t kNamesMax = 8'192;
  static constexpr std::uint64_t kAbsentMs = 10'000;
  static constexpr std::uint64_t kUnansweredMs = 30'000;

  // It will be asked for, unless it is in here already. Names that were given up for lack of room are appended to `dropped`.
  void want(const std::string& name, std::uint64_t now_ms, std::vector<std::string>& dropped);
  [[nodiscard]] bool contains(const std::string& name) const { return places_.contains(name); }
  // Nobody has it. Nothing where it is not in here.
  void set_absent(const std::string& name, std::uint64_t now_ms);
  // Somebody has it: it leaves. `is_alias`: the control plane calls the resource otherwise, so that the name itself need not stay subscribed.
  void set_found(const std::string& name, bool is_alias);
  // Takes out the names whose time is over. While nobody listens (`is_connected` false) what was said stays in force.
  [[nodiscard]] std::vector<std::string> expire(std::uint64_t now_ms, bool is_connected);

  // A stream begins, which knows nothing of what was asked for before: everything is to be asked for.
  void restart();
  // What is to be said by now, a request each, in this order. One of the two lists may be empty; no name stands in both.
  struct Changes {
    std::vector<std::string> subscribe;
    std::vector<std::string> unsubscribe;
    [[nodiscard]] bool is_empty() const noexcept { return subscribe.empty() && unsubscribe.empty(); }
  };
  [[nodiscard]] std::vector<Changes> take_changes();

  [[nodiscard]] bool has_changes() const noexcept { return unsaid_ != 0 || !unsubscribe_.empty(); }
  // To be told before long; names to unsubscribe from have time.
  [[nodiscard]] bool has_questions() const noexcept { return unsaid_ != 0; }
  [[nodiscard]] bool is_empty() const noexcept { return places_.empty() && !has_changes(); }
  [[nodiscard]] std::size_t asked_count() const noexcept { return asked_.size(); }
  [[nodiscard]] std::size_t absent_count() const noexcept { return absent_.size(); }

 private:
  struct Entry {
    std::string name;
    std::uint64_t since_ms = 0;
    bool is_absent = false;
    bool is_said = false;  // on this stream; those that are not mostly stand behind those that are
  };
  using Entries = std::list<Entry>;  // the oldest first
  void give_up(Entries& entries, std::vector<std::string>& dropped);
  void leave(const Entry& entry, bool is_subscribed);
  void say(Entries& entries, std::vector<std::string>& names);

  Entries asked_;
  Entries absent_;
  std::unordered_map<std::string_view, Entries::iterator> places_;  // by the entries' own names
  std::size_t unsaid_ = 0;
  std::unordered_set<std::string> unsubscribe_;
  bool is_in_order_ = false;  // a name stands in both: what is not wanted any more has to be said first
};

}  // namespace culvert::control
