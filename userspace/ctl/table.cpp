// SPDX-License-Identifier: Apache-2.0
// Tables; see table.hpp.
#include "ctl/table.hpp"

#include <algorithm>
#include <numeric>
#include <optional>

namespace culvert::ctl {
namespace {

constexpr unsigned kGap = 2;

std::string_view escape(Tone tone) {
  switch (tone) {
    case Tone::Plain: return {};
    case Tone::Dim: return "\033[2m";
    case Tone::Strong: return "\033[1m";
    case Tone::Good: return "\033[32m";
    case Tone::Warn: return "\033[33m";
    case Tone::Bad: return "\033[31m";
  }
  return {};
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (true) {
    const std::size_t end = text.find('\n');
    lines.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return lines;
    text.remove_prefix(end + 1);
  }
}

bool starts_code_point(char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U; }

// Byte offset of code point `index`, or the size.
std::size_t offset_of(std::string_view text, unsigned index) {
  std::size_t at = 0;
  for (; at < text.size(); ++at) {
    if (starts_code_point(text[at]) && index-- == 0) return at;
  }
  return at;
}

// Widths of the columns that are shown; nothing for those that are not.
using Widths = std::vector<std::optional<unsigned>>;

unsigned total(const Widths& widths) {
  unsigned sum = 0;
  unsigned shown = 0;
  for (const auto& width : widths) {
    if (!width) continue;
    sum += *width;
    ++shown;
  }
  return sum + (shown > 1 ? (shown - 1) * kGap : 0);
}

Widths full_widths(const std::vector<Column>& columns, const std::vector<std::vector<Cell>>& rows) {
  Widths widths;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    unsigned width = display_width(columns[i].title);
    for (const auto& row : rows) {
      for (const auto line : lines_of(row[i].text)) width = std::max(width, display_width(line));
    }
    widths.emplace_back(width);
  }
  return widths;
}

// Takes columns away, one character at a time from the widest that may be cut. False when it is not enough.
bool narrow(Widths& widths, const std::vector<Column>& columns, unsigned limit) {
  while (total(widths) > limit) {
    std::optional<std::size_t> widest;
    for (std::size_t i = 0; i < columns.size(); ++i) {
      if (!widths[i] || columns[i].width_min == 0 || *widths[i] <= columns[i].width_min) continue;
      if (!widest || *widths[i] > *widths[*widest]) widest = i;
    }
    if (!widest) return false;
    --*widths[*widest];
  }
  return true;
}

std::optional<std::size_t> next_to_drop(const Widths& widths, const std::vector<Column>& columns) {
  std::optional<std::size_t> next;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (!widths[i] || columns[i].drop_order == 0) continue;
    if (!next || columns[i].drop_order < columns[*next].drop_order) next = i;
  }
  return next;
}

void append_line(std::string& out, std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  out += line;
  out += '\n';
}

}  // namespace

std::string printable(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const auto next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0U;
    const bool is_c1 = c == '\xC2' && next >= 0x80 && next < 0xA0;  // U+0080 to U+009F, CSI among them
    out += is_c1 || (static_cast<unsigned char>(c) < 0x20 && c != '\n') || c == 0x7f ? '?' : c;
    if (is_c1) ++i;
  }
  return out;
}

std::string toned(std::string_view text, Tone tone, const Look& look) {
  if (!look.has_colour || tone == Tone::Plain || text.empty()) return std::string(text);
  std::string out(escape(tone));
  out += text;
  out += "\033[0m";
  return out;
}

unsigned display_width(std::string_view text) {
  return static_cast<unsigned>(std::count_if(text.begin(), text.end(), starts_code_point));
}

std::string shortened(std::string_view text, unsigned width) {
  const unsigned whole = display_width(text);
  if (whole <= width) return std::string(text);
  if (width == 0) return {};
  // An identity tells most at its end, an address at its beginning: keep a third in front and the rest behind.
  const unsigned front = text.find("://") != std::string_view::npos ? (width - 1) / 3 : width - 1;
  const unsigned back = width - 1 - front;
  std::string out(text.substr(0, offset_of(text, front)));
  out += "\xe2\x80\xa6";
  out += text.substr(offset_of(text, whole - back));
  return out;
}

unsigned Table::natural_width() const { return total(full_widths(columns_, rows_)); }

std::string Table::render(const Look& look) const {
  Widths widths = full_widths(columns_, rows_);
  std::string left_out;
  if (look.width != 0) {
    const Widths full = widths;
    while (!narrow(widths, columns_, look.width)) {
      const auto drop = next_to_drop(widths, columns_);
      if (!drop) break;
      Widths fewer = full;
      for (std::size_t i = 0; i < widths.size(); ++i) {
        if (!widths[i]) fewer[i].reset();
      }
      fewer[*drop].reset();
      widths = fewer;
      left_out += (left_out.empty() ? "" : ", ") + columns_[*drop].title;
    }
  }

  std::string out;
  const auto append_row = [&](auto&& cell_line, auto&& tone) {
    std::string line;
    bool is_first = true;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      if (!widths[i]) continue;
      if (!is_first) line.append(kGap, ' ');
      is_first = false;
      const std::string text = shortened(printable(cell_line(i)), *widths[i]);
      const std::string padding(*widths[i] - display_width(text), ' ');
      const Tone shade = text.starts_with(' ') ? Tone::Dim : tone(i);
      line += columns_[i].is_right ? padding + toned(text, shade, look) : toned(text, shade, look) + padding;
    }
    append_line(out, std::move(line));
  };
  append_row([&](std::size_t i) { return std::string_view(columns_[i].title); },
             [](std::size_t) { return Tone::Strong; });
  for (const auto& row : rows_) {
    std::size_t height = 1;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      if (widths[i]) height = std::max(height, lines_of(row[i].text).size());
    }
    for (std::size_t at = 0; at < height; ++at) {
      append_row(
          [&](std::size_t i) {
            const auto lines = lines_of(row[i].text);
            return at < lines.size() ? lines[at] : std::string_view();
          },
          [&](std::size_t i) { return at == 0 ? row[i].tone : Tone::Plain; });
    }
  }
  if (!left_out.empty()) append_line(out, toned("(left out to fit: " + left_out + ")", Tone::Dim, look));
  return out;
}

}  // namespace culvert::ctl
