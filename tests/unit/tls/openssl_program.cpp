// SPDX-License-Identifier: Apache-2.0
#include "openssl_program.hpp"

#include <catch2/catch.hpp>

#include <csignal>
#include <filesystem>
#include <fstream>

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.hpp"

namespace culvert::tls::test {
namespace {

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

}  // namespace

OpensslProgram::OpensslProgram(const Authority& authority, Role role, Cipher cipher,
                               const std::vector<std::string>& more) {
  char path[] = "/tmp/culvert-openssl.XXXXXX";
  REQUIRE(::mkdtemp(path) != nullptr);
  directory_ = path;
  LeafOptions leaf;
  leaf.alternative_names = "URI:" + std::string(role == Role::Server ? kServerId : kClientId);
  const Issued issued = authority.issue(leaf);
  const std::string certificate = store("leaf.crt", issued.chain_pem);
  const std::string key = store("leaf.key", issued.key_pem);
  const std::string roots = store("roots.crt", authority.root_pem());

  listener_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof(address);
  const int on = 1;
  REQUIRE(::setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0);
  REQUIRE(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
  REQUIRE(::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
  port_ = ntohs(address.sin_port);

  std::vector<std::string> arguments;
  if (role == Role::Server) {
    listener_.reset();
    arguments = {"openssl",
                 "s_server",
                 "-accept",
                 "127.0.0.1:" + std::to_string(port_),
                 "-naccept",
                 "1",
                 "-Verify",
                 "2",
                 "-verify_return_error"};
  } else {
    REQUIRE(::listen(listener_.get(), 1) == 0);
    arguments = {"openssl",       "s_client", "-connect", "127.0.0.1:" + std::to_string(port_),
                 "-noservername", "-verify",  "2"};
  }
  if (role != Role::AnonymousClient) {
    for (const std::string& one : {std::string("-cert"), certificate, std::string("-key"), key})
      arguments.push_back(one);
  }
  for (const std::string& one : {std::string("-CAfile"), roots, std::string("-alpn"), std::string("culvert/1")}) {
    arguments.push_back(one);
  }
  if (role == Role::OldClient) {
    arguments.emplace_back("-tls1_2");
  } else {
    arguments.emplace_back("-tls1_3");
    arguments.emplace_back("-ciphersuites");
    arguments.emplace_back(to_string(cipher));
  }
  for (const std::string& one : more) arguments.push_back(one);
  start(arguments);
  if (role == Role::Server) REQUIRE(wait_for_output("ACCEPT"));
}

OpensslProgram::~OpensslProgram() {
  kill();
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

std::string OpensslProgram::store(const std::string& name, const std::string& content) {
  std::string path = directory_ + "/" + name;
  std::ofstream(path) << content;
  return path;
}

void OpensslProgram::start(const std::vector<std::string>& arguments) {
  int to_program[2];
  int from_program[2];
  REQUIRE(::pipe2(to_program, O_CLOEXEC) == 0);
  REQUIRE(::pipe2(from_program, O_CLOEXEC) == 0);
  std::vector<char*> raw;
  for (const std::string& one : arguments) raw.push_back(const_cast<char*>(one.c_str()));
  raw.push_back(nullptr);
  pid_ = ::fork();
  REQUIRE(pid_ >= 0);
  if (pid_ == 0) {
    ::dup2(to_program[0], STDIN_FILENO);
    ::dup2(from_program[1], STDOUT_FILENO);
    ::dup2(from_program[1], STDERR_FILENO);
    ::execvp(raw.front(), raw.data());
    ::_exit(127);
  }
  ::close(to_program[0]);
  ::close(from_program[1]);
  input_.reset(to_program[1]);
  output_fd_.reset(from_program[0]);
}

UniqueFd OpensslProgram::connect() {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = loopback(port_);
  REQUIRE(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  REQUIRE(::fcntl(fd.get(), F_SETFL, O_NONBLOCK) == 0);
  return fd;
}

UniqueFd OpensslProgram::accept() {
  wait_for(listener_.get(), POLLIN);
  UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  REQUIRE(fd.is_open());
  return fd;
}

void OpensslProgram::type(std::string_view text) {
  REQUIRE(::write(input_.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  // It reads its input in blocks and takes the first letter of a block as the command: one block for each line.
  ::usleep(50'000);
}

bool OpensslProgram::wait_for_output(std::string_view text) {
  const std::uint64_t limit = monotonic_ms() + 10'000;
  while (output_.find(text) == std::string::npos) {
    if (monotonic_ms() > limit) break;
    wait_for(output_fd_.get(), POLLIN, 200);
    pollfd entry{output_fd_.get(), POLLIN, 0};
    if (::poll(&entry, 1, 0) != 1) continue;
    char buffer[65536];
    const ssize_t got = ::read(output_fd_.get(), buffer, sizeof(buffer));
    if (got <= 0) break;
    output_.append(buffer, static_cast<std::size_t>(got));
  }
  const bool is_found = output_.find(text) != std::string::npos;
  if (!is_found) WARN("openssl said: " << output_);
  return is_found;
}

void OpensslProgram::kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

std::optional<TunnelSocket> finish_alone(End& end, HandshakeSocket socket, HandshakeFailure expected) {
  using Step = HandshakeSocket::Step;
  Step step = Step::WantRead;
  const std::uint64_t limit = monotonic_ms() + 10'000;
  while (monotonic_ms() < limit) {
    step = socket.advance(end.context);
    if (step == Step::Done || step == Step::Failed) break;
    wait_for(socket.fd(), step == Step::WantRead ? POLLIN : POLLOUT, 200);
  }
  CHECK(socket.failure() == expected);
  if (step != Step::Done) {
    if (expected == HandshakeFailure::None) WARN(socket.failure_detail());
    return std::nullopt;
  }
  auto tunnel = socket.into_tunnel(end.context);
  if (tunnel) static_cast<void>(tunnel->flush(end.context));
  return tunnel;
}

}  // namespace culvert::tls::test
