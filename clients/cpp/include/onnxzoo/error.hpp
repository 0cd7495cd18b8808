// Every error that onnxzoo raises, and text that is safe to print on one line.
#pragma once

#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <string_view>

namespace onnxzoo {

/// What a command returns for an error: the exit codes of the command line in Python.
enum class ExitCode : int { done = 0, rejected = 1, usage = 2, missing = 3 };

/// Base of all errors. `what()` says what is wrong, the expected and the actual value, and the fix.
class Error : public std::runtime_error {
public:
    Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
    ExitCode code() const noexcept { return code_; }

private:
    ExitCode code_;
};

/// An image cannot be read; the message names it.
class ImageError : public Error {
public:
    explicit ImageError(const std::string& message) : Error(ExitCode::rejected, message) {}
};

/// An artifact folder is incomplete, altered, malformed or unsafe.
class ArtifactError : public Error {
public:
    explicit ArtifactError(const std::string& message) : Error(ExitCode::rejected, message) {}
};

/// An engine rejected the model or failed while running it.
class EngineError : public Error {
public:
    explicit EngineError(const std::string& message) : Error(ExitCode::rejected, message) {}
};

/// An argument has an invalid value.
class InputError : public Error {
public:
    explicit InputError(const std::string& message) : Error(ExitCode::usage, message) {}
};

/// There is no artifact at the given place.
class ModelNotFoundError : public Error {
public:
    explicit ModelNotFoundError(const std::string& message) : Error(ExitCode::missing, message) {}
};

/// The engine cannot run the model on this machine.
class EngineUnavailableError : public Error {
public:
    explicit EngineUnavailableError(const std::string& message) : Error(ExitCode::missing, message) {}
};

/// The code point that begins at `at` in UTF-8, and its length in bytes; length 0 for bytes that are not UTF-8.
inline std::uint32_t code_point(std::string_view text, std::size_t at, std::size_t& length) {
    const auto byte = [&](std::size_t place) -> std::uint32_t { return static_cast<unsigned char>(text[place]); };
    const std::uint32_t first = byte(at);
    length = first < 0x80 ? 1 : first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
    if (length == 0 || at + length > text.size()) {
        length = 0;
        return first;
    }
    if (length == 1) return first;
    std::uint32_t point = first & (0x7FU >> length);
    for (std::size_t place = at + 1; place < at + length; ++place) {
        if ((byte(place) & 0xC0U) != 0x80U) {
            length = 0;
            return first;
        }
        point = (point << 6U) | (byte(place) & 0x3FU);
    }
    const bool overlong = (length == 3 && point < 0x800) || (length == 4 && point < 0x10000);
    if (overlong || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF)) {
        length = 0;
        return first;
    }
    return point;
}

/// Whether a code point may be printed: not a control character, a separator of lines, or a control of direction.
inline bool is_printable(std::uint32_t point) {
    return !(point < 0x20 || (point >= 0x7F && point < 0xA0) || point == 0xAD || point == 0x61C || point == 0x180E ||
             point == 0x200B || point == 0x200E || point == 0x200F || (point >= 0x2028 && point <= 0x202E) ||
             (point >= 0x2060 && point <= 0x206F) || point == 0xFEFF || (point >= 0xFFF0 && point <= 0xFFFB) ||
             (point >= 0xE000 && point <= 0xF8FF) || point >= 0xE0000);
}

/// The text with everything that cannot be printed, or is not UTF-8, escaped: `\n`, `\x1b`, `\u202e`, `\xff`.
inline std::string escaped(std::string_view text) {
    std::string result;
    for (std::size_t at = 0, length = 0; at < text.size(); at += length) {
        const std::uint32_t point = code_point(text, at, length);
        if (length != 0 && is_printable(point)) {
            result.append(text.substr(at, length));
            continue;
        }
        if (length == 0) length = 1;
        char code[16];
        const char* format = point < 0x100 ? "\\x%02x" : point < 0x10000 ? "\\u%04x" : "\\U%08x";
        if (point == '\n' || point == '\r' || point == '\t') {
            result += point == '\n' ? "\\n" : point == '\r' ? "\\r" : "\\t";
        } else {
            std::snprintf(code, sizeof code, format, static_cast<unsigned>(point));
            result += code;
        }
    }
    return result;
}

/// The text in at most `limit` bytes, cut between characters; the middle of a longer one is replaced by its length.
inline std::string shortened(const std::string& text, std::size_t limit = 500) {
    if (text.size() <= limit) return text;
    const std::string gap = " [... " + std::to_string(text.size()) + " bytes ...] ";
    const auto inside = [&](std::size_t at) { return (static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80U; };
    std::size_t head = (limit - gap.size()) * 7 / 10;
    std::size_t tail = text.size() - (limit - gap.size() - head);
    while (head > 0 && inside(head)) --head;
    while (tail < text.size() && inside(tail)) ++tail;
    return text.substr(0, head) + gap + text.substr(tail);
}

/// A message as one short, printable line.
inline std::string one_line(std::string_view text) { return shortened(escaped(text)); }

}  // namespace onnxzoo
