// SPDX-License-Identifier: Apache-2.0
// A network namespace with a pod's device and addresses, as a container runtime would have made it. Needs root and ip(8).
#pragma once

#include <string>
#include <vector>

#include <sys/resource.h>

#include "base/unique_fd.hpp"
#include "enroll/enroller.hpp"

namespace culvert::testing {

class TestNetns {
 public:
  // A device eth0 (a bridge, which every kernel has) with these addresses ("10.1.0.5/24"); lo stays down, as a CNI plugin finds it.
  explicit TestNetns(const std::vector<std::string>& addresses = {"10.1.0.5/24", "fd00::5/64"});
  ~TestNetns();
  TestNetns(const TestNetns&) = delete;
  TestNetns& operator=(const TestNetns&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] UniqueFd open() const;
  // `ip -n NAME ARGUMENTS`
  void ip(const std::string& arguments) const;
  // Removes the name, as a runtime does; the namespace lives on while somebody holds it.
  void remove();

 private:
  std::string name_;
  std::string path_;
};

// A spec for this namespace, without addresses.
[[nodiscard]] enroll::PodSpec spec_for(const TestNetns& netns, const std::string& id = "c1");
// A socket that a program of the pod listens with.
[[nodiscard]] UniqueFd listen_in(const TestNetns& netns, const std::string& endpoint, bool is_reuseport = false);
// While it lives, this process gets `more` descriptors beside those that it has, and then none.
class FewDescriptors {
 public:
  explicit FewDescriptors(unsigned more);
  ~FewDescriptors();
  FewDescriptors(const FewDescriptors&) = delete;
  FewDescriptors& operator=(const FewDescriptors&) = delete;

 private:
  rlimit before_{};
};
// Ends the whole test program with the code for "skipped" when it is not run by root.
void need_root();

}  // namespace culvert::testing
