// SPDX-License-Identifier: Apache-2.0
// The programs load into this kernel, at a bounded cost to its verifier, and decide in the kernel as they do on the host.
#include <catch2/catch.hpp>

#include <array>
#include <memory>
#include <string>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_ether.h>

#include "../unit/bpf/decide_cases.hpp"
#include "cv_datapath.skel.h"
#include "cv_decide_test.skel.h"

namespace {

struct DestroyDatapath {
  void operator()(cv_datapath* object) const { cv_datapath::destroy(object); }
};
struct DestroyDecide {
  void operator()(cv_decide_test* object) const { cv_decide_test::destroy(object); }
};

std::unique_ptr<cv_datapath, DestroyDatapath> load_datapath() {
  libbpf_set_print(nullptr);
  std::unique_ptr<cv_datapath, DestroyDatapath> object(cv_datapath::open());
  REQUIRE(object);
  object->rodata->cv_mark = 0x539;
  object->rodata->cv_node_netns_cookie = 1;  // 0 would let the verifier leave half of sockops out
  REQUIRE(cv_datapath::load(object.get()) == 0);
  return object;
}

template <typename Run>
void test_run(const bpf_program* program, Run& run) {
  LIBBPF_OPTS(bpf_test_run_opts, options);
  options.ctx_in = &run;
  options.ctx_size_in = sizeof(run);
  REQUIRE(bpf_prog_test_run_opts(bpf_program__fd(program), &options) == 0);
}

}  // namespace

TEST_CASE("every program loads within its budget of verified instructions") {
  const auto object = load_datapath();
  struct Budget {
    const char* name;
    unsigned instructions;
  };
  // About half as much again as the hungriest of 6.1, 6.12, 6.18 and 7.3; `--success` prints what it is.
  constexpr Budget kBudgets[] = {{"cv_connect4", 1800},   {"cv_connect6", 1800},  {"cv_sendmsg4", 900},
                                 {"cv_sendmsg6", 900},    {"cv_recvmsg4", 150},   {"cv_recvmsg6", 150},
                                 {"cv_sockops", 400},     {"cv_setsockopt", 200}, {"cv_pod_lookup", 1500},
                                 {"cv_egress_all", 9000}, {"cv_pod_egress", 60},  {"cv_hold_syn", 300}};
  unsigned seen = 0;
  for (const auto& budget : kBudgets) {
    const bpf_program* program = bpf_object__find_program_by_name(object->obj, budget.name);
    REQUIRE(program != nullptr);
    bpf_prog_info info{};
    __u32 bytes = sizeof(info);
    REQUIRE(bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &bytes) == 0);
    INFO(budget.name << ": " << info.verified_insns << " verified, " << info.jited_prog_len
                     << " bytes of machine code");
    CHECK(info.verified_insns > 0);
    CHECK(info.verified_insns <= budget.instructions);
    ++seen;
  }
  unsigned all = 0;
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, object->obj)++ all;
  CHECK(seen == all);
}

TEST_CASE("the kernel decides as the tables say") {
  using namespace culvert::test;
  libbpf_set_print(nullptr);
  const std::unique_ptr<cv_decide_test, DestroyDecide> object(cv_decide_test::open_and_load());
  REQUIRE(object);
  for (const auto& c : kConnectCases) {
    INFO(c.text);
    struct {
      __u32 flags, is_local, is_excluded, way;
    } run{c.flags, static_cast<__u32>(c.is_local), static_cast<__u32>(c.is_excluded), 99};
    test_run(object->progs.cv_t_connect, run);
    CHECK(run.way == c.way);
  }
  for (const auto& c : kLookupCases) {
    INFO(c.text);
    struct {
      cv_lookup_facts facts;
      __u32 way;
    } run{c.facts, 99};
    test_run(object->progs.cv_t_lookup, run);
    CHECK(run.way == c.way);
  }
  for (const auto& c : kEgressSockCases) {
    INFO(c.text);
    struct {
      cv_egress_sock sock;
      __u32 way;
    } run{c.sock, 99};
    test_run(object->progs.cv_t_sock, run);
    CHECK(run.way == c.way);
  }
  for (const auto& c : kEgressPacketCases) {
    INFO(c.text);
    struct {
      cv_egress_packet packet;
      __u32 act, kind;
      __s32 counter;
    } run{c.packet, 99, 99, 99};
    test_run(object->progs.cv_t_packet, run);
    CHECK(run.act == static_cast<__u32>(c.act));
    CHECK(run.kind == c.kind);
    CHECK(run.counter == c.counter);
  }
}

TEST_CASE("a lookup test-run of the template, which belongs to no pod, passes") {
  const auto object = load_datapath();
  // The template's slot is no pod's: the array has no such element, and nothing is decided.
  const int lookup = bpf_program__fd(object->progs.cv_pod_lookup);
  bpf_sk_lookup context{};
  context.family = AF_INET;
  context.protocol = IPPROTO_TCP;
  context.remote_port = htons(40000);
  context.local_port = 80;
  LIBBPF_OPTS(bpf_test_run_opts, options);
  options.ctx_in = &context;
  options.ctx_size_in = sizeof(context);
  REQUIRE(bpf_prog_test_run_opts(lookup, &options) == 0);
  CHECK(options.retval == SK_PASS);
}

TEST_CASE("an egress test-run without a program to jump to drops") {
  const auto object = load_datapath();
  std::array<std::uint8_t, 64> frame{};
  frame[12] = 0x08;  // IPv4
  frame[14] = 0x45;
  frame[23] = IPPROTO_TCP;
  LIBBPF_OPTS(bpf_test_run_opts, options);
  options.data_in = frame.data();
  options.data_size_in = frame.size();
  REQUIRE(bpf_prog_test_run_opts(bpf_program__fd(object->progs.cv_pod_egress), &options) == 0);
  constexpr __u32 kDrop = 2;  // TC_ACT_SHOT
  CHECK(options.retval == kDrop);
}
