// SPDX-License-Identifier: Apache-2.0
#include "scripted_agent.hpp"

#include <cstdlib>
#include <cstring>
#include <filesystem>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <catch2/catch.hpp>

#include "plugin.hpp"

namespace culvert::testing {

TempDir::TempDir() {
  char name[] = "/tmp/culvert-cni-test-XXXXXX";
  REQUIRE(::mkdtemp(name) != nullptr);
  path_ = name;
}
TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

ScriptedAgent::ScriptedAgent(const std::string& socket_path, Script script)
    : script_(std::move(script)),
      listener_(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)),
      stop_(::eventfd(0, EFD_CLOEXEC)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  REQUIRE(socket_path.size() < sizeof(address.sun_path));
  std::memcpy(address.sun_path, socket_path.data(), socket_path.size());
  REQUIRE(::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  REQUIRE(::listen(listener_.get(), 16) == 0);
  thread_ = std::thread([this] { serve(); });
}

ScriptedAgent::~ScriptedAgent() { finish(); }

const std::vector<Received>& ScriptedAgent::finish() {
  if (thread_.joinable()) {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(stop_.get(), &one, sizeof(one));
    thread_.join();
  }
  return received_;
}

void ScriptedAgent::serve() {
  for (;;) {
    pollfd waits[2] = {{listener_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
    ::poll(waits, 2, -1);
    if (waits[0].revents == 0) return;
    const UniqueFd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    Received received;
    received.text.resize(cni::kMessageBytesMax);
    char control[CMSG_SPACE(4 * sizeof(int))];
    iovec span{received.text.data(), received.text.size()};
    msghdr message{};
    message.msg_iov = &span;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    const ssize_t got = ::recvmsg(client.get(), &message, MSG_CMSG_CLOEXEC);
    received.text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
      const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      received.descriptors += count;
      for (std::size_t i = 0; i < count; ++i) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
        ::close(fd);
      }
    }
    received_.push_back(received);
    const auto answer = script_(received);
    if (answer) ::send(client.get(), answer->data(), answer->size(), MSG_NOSIGNAL);
  }
}

cni_plugin::Output run_plugin(const Call& call) {
  return cni_plugin::run(
      [&call](const char* name) -> const char* {
        const auto place = call.variables.find(name);
        return place == call.variables.end() ? nullptr : place->second.c_str();
      },
      call.config);
}

Call call_of(const std::string& command, const TempDir& dir, const std::string& members) {
  Call call;
  call.variables = {
      {"CNI_COMMAND", command},     {"CNI_CONTAINERID", "c1"},
      {"CNI_IFNAME", "eth0"},       {"CNI_NETNS", "/proc/self/ns/net"},
      {"CNI_PATH", "/opt/cni/bin"}, {"CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart"}};
  call.config = R"({"cniVersion":"1.1.0","name":"pods","type":"culvert-cni","agent_wait_ms":0,"agent_socket":")" +
                dir.path("cni.sock") + R"(","state_dir":")" + dir.path("state") + "\"" +
                (members.empty() ? "" : "," + members);
  if (command == "ADD" || command == "CHECK") call.config += std::string(R"(,"prevResult":)") + kPrevResult;
  call.config += "}";
  return call;
}

}  // namespace culvert::testing
