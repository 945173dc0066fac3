// SPDX-License-Identifier: Apache-2.0
// The report of preflight; see preflight.hpp.
#include "ctl/preflight.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <fstream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "ctl/commands.hpp"

namespace culvert::ctl {
namespace {

constexpr std::string_view kIndent = "          ";

std::string_view word(Verdict verdict) {
  switch (verdict) {
    case Verdict::Ok: return "ok";
    case Verdict::Degraded: return "degraded";
    case Verdict::Missing: return "missing";
  }
  return "unknown";
}

Tone tone(Verdict verdict) {
  return verdict == Verdict::Ok ? Tone::Good : verdict == Verdict::Degraded ? Tone::Warn : Tone::Bad;
}

std::size_t count(const Checks& checks, Verdict verdict) {
  return static_cast<std::size_t>(
      std::count_if(checks.begin(), checks.end(), [&](const Check& check) { return check.verdict == verdict; }));
}

// `text` broken at blanks into lines of at most `width` columns, each after `indent`.
std::string wrapped(std::string_view text, std::string_view indent, unsigned width) {
  std::string out;
  std::string line;
  const auto flush = [&] {
    if (line.empty()) return;
    out += indent;
    out += line;
    out += '\n';
    line.clear();
  };
  while (!text.empty()) {
    const std::size_t end = text.find(' ');
    const std::string_view next = text.substr(0, end);
    if (!line.empty() && width != 0 && indent.size() + line.size() + 1 + next.size() > width) flush();
    if (!line.empty()) line += ' ';
    line += next;
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  flush();
  return out;
}

}  // namespace

bool is_usable(const Checks& checks) { return count(checks, Verdict::Missing) == 0; }

std::string view_preflight(const Checks& checks, const Look& look) {
  unsigned title_width = 0;
  for (const Check& check : checks) title_width = std::max(title_width, display_width(check.title));
  std::string out;
  for (const Check& check : checks) {
    const std::string verdict = fmt::format("{:<8}", word(check.verdict));
    const std::string padding(title_width - display_width(check.title), ' ');
    out += fmt::format("{}  {}{}  {}\n", toned(verdict, tone(check.verdict), look), check.title, padding, check.found);
    if (!check.remedy.empty()) out += wrapped(check.remedy, kIndent, look.width != 0 ? look.width : 120);
  }
  const std::size_t missing = count(checks, Verdict::Missing);
  const std::size_t degraded = count(checks, Verdict::Degraded);
  out += fmt::format("\n{} ok, {} degraded, {} missing: ", count(checks, Verdict::Ok), degraded, missing);
  if (missing != 0) {
    out += toned("Culvert cannot run here until what is missing is there.", Tone::Bad, look);
  } else if (degraded != 0) {
    out += toned("Culvert runs here; what is degraded costs what its line says.", Tone::Good, look);
  } else {
    out += toned("Culvert runs here with everything it can use.", Tone::Good, look);
  }
  return out + "\n";
}

std::string json_preflight(const Checks& checks) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Check& check : checks) {
    list.push_back({{"id", check.id},
                    {"title", check.title},
                    {"verdict", word(check.verdict)},
                    {"found", check.found},
                    {"remedy", check.remedy}});
  }
  nlohmann::ordered_json json{{"usable", is_usable(checks)},
                              {"ok", count(checks, Verdict::Ok)},
                              {"degraded", count(checks, Verdict::Degraded)},
                              {"missing", count(checks, Verdict::Missing)},
                              {"checks", std::move(list)}};
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

KernelVersion parse_kernel_version(std::string_view release) {
  KernelVersion version;
  const char* end = release.data() + release.size();
  const auto major = std::from_chars(release.data(), end, version.major);
  if (major.ec != std::errc() || major.ptr == end || *major.ptr != '.') return {};
  if (std::from_chars(major.ptr + 1, end, version.minor).ec != std::errc()) return {};
  return version;
}

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

int run_preflight(const CommonOptions& common) {
  Checks checks;
  probe_kernel(checks);
  probe_capture(checks);
  probe_tls(checks);
  probe_process(checks);
  const std::string report = common.as_json ? json_preflight(checks) : view_preflight(checks, common.terminal.look);
  std::fwrite(report.data(), 1, report.size(), stdout);
  return is_usable(checks) ? kExitOk : kExitFailed;
}

}  // namespace culvert::ctl
