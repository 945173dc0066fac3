// SPDX-License-Identifier: Apache-2.0
#include "control/grpc_channel.hpp"

#include <array>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <iterator>

#include <grpcpp/grpcpp.h>
#include <unistd.h>

namespace culvert::control {
namespace {

constexpr std::size_t kFileBytesMax = std::size_t{4} << 20U;
constexpr std::array<const char*, 3> kSystemRoots = {"/etc/ssl/certs/ca-certificates.crt",
                                                     "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"};

Result<std::string> read_file(const std::string& path, std::string_view what) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return fail_errno(errno, "cannot read {} from {}", what, path);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (text.size() > kFileBytesMax) {
    return fail(ErrorCode::ResourceExhausted, "{} in {} has {} bytes; at most {}", what, path, text.size(),
                kFileBytesMax);
  }
  return text;
}

bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

}  // namespace

Result<GrpcTarget> parse_grpc_address(std::string_view address, const GrpcAddressKind& kind) {
  GrpcTarget target;
  std::string_view rest = address;
  if (rest.starts_with("http://")) {
    target.is_plaintext = true;
    rest.remove_prefix(7);
  } else if (rest.starts_with("https://")) {
    rest.remove_prefix(8);
  }
  if (rest.ends_with('/')) rest.remove_suffix(1);
  target.port = target.is_plaintext ? kind.port_plaintext : kind.port_tls;
  const std::size_t bracket = rest.starts_with('[') ? rest.find(']') : std::string_view::npos;
  const std::size_t colon = rest.find(':', bracket == std::string_view::npos ? 0 : bracket);
  std::string_view host = rest.substr(0, colon);
  if (colon != std::string_view::npos) {
    const std::string_view digits = rest.substr(colon + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), target.port);
    if (error != std::errc() || end != digits.data() + digits.size() || target.port == 0) {
      return fail(ErrorCode::InvalidArgument, "{} is \"{}\"; it must be https://HOST:PORT", kind.what, address);
    }
  }
  if (host.empty() || host.find_first_of("/ \t@?#") != std::string_view::npos) {
    return fail(ErrorCode::InvalidArgument, "{} is \"{}\"; it must be https://HOST:PORT", kind.what, address);
  }
  target.host = host;
  return target;
}

Result<void> check_grpc_address(std::string_view address) {
  if (!address.empty()) CV_TRY(parse_grpc_address(address));
  return {};
}

Result<std::string> read_roots(const std::string& roots) {
  if (roots.find("-----BEGIN") != std::string::npos) return roots;
  if (roots != "SYSTEM") return read_file(roots, "the control plane's root certificates");
  for (const char* path : kSystemRoots) {
    if (exists(path)) return read_file(path, "the system's root certificates");
  }
  return fail(ErrorCode::NotFound, "this system has no root certificates: install ca-certificates, or name a file");
}

Result<std::string> read_token(const std::string& token) {
  if (token.empty()) return std::string();
  std::string text = token;
  if (token.starts_with('/') || token.starts_with("./") || exists(token)) {
    text = CV_TRY(read_file(token, "the service account token"));
  }
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' ')) text.pop_back();
  if (text.empty()) return fail(ErrorCode::InvalidArgument, "the service account token {} is empty", token);
  for (const char c : text) {
    if (c <= ' ' || c > '~') {
      return fail(ErrorCode::InvalidArgument, "the service account token has a character that no header may have");
    }
  }
  return text;
}

Result<std::shared_ptr<grpc::Channel>> make_channel(const GrpcEndpoint& endpoint, bool use_alternative_name) {
  const GrpcTarget target = CV_TRY(parse_grpc_address(endpoint.address));
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(endpoint.receive_bytes_max);
  if (endpoint.memory_bytes_max != 0) {
    arguments.SetResourceQuota(grpc::ResourceQuota().Resize(endpoint.memory_bytes_max));
  }
  // Nothing compressed: the library holds a message against the limit once it has inflated all of it.
  arguments.SetInt(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1 << GRPC_COMPRESS_NONE);
  arguments.SetInt(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
  arguments.SetMaxSendMessageSize(kGrpcMessageBytesMax);
  // The library lets nobody set a socket's TCP keepalive (ztunnel's is 300 s, 75 s, 9 times): its socket mutator is a type of its own sources. Pings
  // notice a silent peer sooner, one that is stopped as well as one that is gone, and have TCP_USER_TIMEOUT set beside them.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, endpoint.keepalive_ms);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  // The library sends two pings and no more until there is something to say: a quiet mesh's stream would be watched for a minute.
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // The library reads into buffers that grow with what it reads, up to 4 MiB, and keeps them while it waits for more.
  arguments.SetInt(GRPC_ARG_TCP_MAX_READ_CHUNK_SIZE, 64 << 10);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // roots may have changed since the last one
  arguments.SetServiceConfigJSON("{}");
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  const std::string where = fmt::format("dns:///{}:{}", target.host, target.port);
  if (target.is_plaintext) return grpc::CreateCustomChannel(where, grpc::InsecureChannelCredentials(), arguments);
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = CV_TRY(read_roots(endpoint.roots));
  if (use_alternative_name && !endpoint.alternative_name.empty()) {
    arguments.SetSslTargetNameOverride(endpoint.alternative_name);
  }
  return grpc::CreateCustomChannel(where, grpc::SslCredentials(options), arguments);
}

Result<void> add_metadata(grpc::ClientContext& context, const GrpcEndpoint& endpoint) {
  const std::string token = CV_TRY(read_token(endpoint.token));
  if (!token.empty()) context.AddMetadata("authorization", "Bearer " + token);
  if (!endpoint.cluster.empty()) context.AddMetadata("clusterid", endpoint.cluster);
  for (const auto& [name, value] : endpoint.headers) context.AddMetadata(name, value);
  return {};
}

}  // namespace culvert::control
