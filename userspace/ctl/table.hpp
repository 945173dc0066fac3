// SPDX-License-Identifier: Apache-2.0
// Aligned tables for a terminal: columns as wide as they must be, narrowed or left out where the terminal is narrower. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace culvert::ctl {

enum class Tone : std::uint8_t { Plain, Dim, Strong, Good, Warn, Bad };

// How output looks: its width in columns (0: no limit) and whether escape sequences are understood.
struct Look {
  unsigned width = 0;
  bool has_colour = false;
};

// A cell may have several lines, separated by line breaks; the tone is the first one's, and the others are dim if indented.
struct Cell {
  Cell(std::string content, Tone tone_ = Tone::Plain) : text(std::move(content)), tone(tone_) {}
  Cell(const char* content, Tone tone_ = Tone::Plain) : text(content), tone(tone_) {}
  std::string text;
  Tone tone;
};

struct Column {
  std::string title;
  bool is_right = false;    // numbers
  unsigned width_min = 0;   // may be cut down to this; 0: never cut
  unsigned drop_order = 0;  // left out when the rest does not fit, the lowest first; 0: never
};

class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void row(std::vector<Cell> cells) { rows_.push_back(std::move(cells)); }
  [[nodiscard]] std::size_t size() const noexcept { return rows_.size(); }
  // The title line and the rows, each line ended; then a line that names what was left out, if anything.
  [[nodiscard]] std::string render(const Look& look) const;
  // Columns that it takes when nothing is cut.
  [[nodiscard]] unsigned natural_width() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

// `text` in a tone, when the look has colours.
[[nodiscard]] std::string toned(std::string_view text, Tone tone, const Look& look);
// Columns that a text takes: its code points, control characters counted as one.
[[nodiscard]] unsigned display_width(std::string_view text);
// Cut to `width` columns with an ellipsis: at the end, or in the middle of a URI, whose end says most.
[[nodiscard]] std::string shortened(std::string_view text, unsigned width);
// Control characters replaced: what an agent reports may contain names that others chose.
[[nodiscard]] std::string printable(std::string_view text);

}  // namespace culvert::ctl
