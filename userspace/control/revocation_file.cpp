// SPDX-License-Identifier: Apache-2.0
#include "control/revocation_file.hpp"

#include <functional>
#include <utility>

#include "control/text_file.hpp"

namespace culvert::control {

RevocationFile::RevocationFile(std::string path, tls::Revocation& revocation, Callbacks callbacks)
    : path_(std::move(path)), revocation_(revocation), callbacks_(std::move(callbacks)) {}

std::unique_ptr<RevocationFile> RevocationFile::open(Reactor& reactor, std::string path, tls::Revocation& revocation,
                                                     Callbacks callbacks) {
  std::unique_ptr<RevocationFile> file(new RevocationFile(std::move(path), revocation, std::move(callbacks)));
  RevocationFile* const self = file.get();
  // Watched first: what changes after the reading is seen.
  auto watch = FileWatch::open(reactor, file->path_, [self] { self->read(false); });
  if (watch) {
    file->watch_ = *std::move(watch);
  } else {
    watch.error().add_context("new revocation lists wait for SIGHUP");
    file->callbacks_.failed(watch.error());
  }
  file->read(false);
  return file;
}

void RevocationFile::read(bool is_asked_for) {
  const Result<std::string> text = read_text_file(path_, "the revocation lists", tls::Revocation::kBytesMax);
  if (!text) return failed(text.error(), {}, is_asked_for);
  std::string digest = fmt::format("{}/{:x}", text->size(), std::hash<std::string_view>{}(*text));
  if (digest == in_force_ && !is_asked_for) {
    error_.clear();
    return;
  }
  if (auto loaded = revocation_.load(*text); !loaded) {
    loaded.error().add_context(fmt::format("the revocation lists {}", path_));
    return failed(loaded.error(), std::move(digest), is_asked_for);
  }
  in_force_ = std::move(digest);
  error_.clear();
  callbacks_.changed();
}

void RevocationFile::failed(const Error& error, std::string seen, bool is_asked_for) {
  const std::string text = error.message();
  const bool is_other_text = seen != std::exchange(refused_, seen);
  const bool is_other_error = text != std::exchange(error_, text);
  if (!is_other_text && !is_other_error && !is_asked_for) return;
  ++failures_;
  callbacks_.failed(error);
}

}  // namespace culvert::control
