// A strict parser for untrusted JSON documents (RFC 8259), with the limits of onnxzoo/strict_json.py.
#pragma once

#include <cmath>
#include <cstdint>
#include <locale>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "error.hpp"

namespace onnxzoo::json {

inline constexpr int max_depth = 100;
inline constexpr std::size_t max_digits = 40;

/// A JSON value. `whole`: whether a number was written without fraction and exponent and fits 64 bits.
struct Value {
    enum class Kind { null, boolean, number, text, array, object };
    Kind kind = Kind::null;
    bool boolean = false;
    bool whole = false;
    std::int64_t integer = 0;
    double number = 0.0;
    std::string text;
    std::vector<Value> items;
    std::vector<std::pair<std::string, Value>> fields;

    /// The field of this name; nullptr if there is none.
    const Value* find(std::string_view key) const {
        for (const auto& [name, value] : fields)
            if (name == key) return &value;
        return nullptr;
    }
};

/// Parses one document. Every failure is a std::invalid_argument with a reason of one line.
class Parser {
public:
    explicit Parser(std::string_view text) : text_(text) {}

    Value document() {
        for (std::size_t at = 0, length = 0; at < text_.size(); at += length) {
            code_point(text_, at, length);
            if (length == 0) fail("byte " + std::to_string(at) + " is not UTF-8");
        }
        Value result = value(0);
        skip_space();
        if (at_ < text_.size()) fail_here("expected the end");
        return result;
    }

private:
    std::string_view text_;
    std::size_t at_ = 0;

    [[noreturn]] static void fail(const std::string& reason) { throw std::invalid_argument(reason); }
    [[noreturn]] void fail_here(const std::string& reason) const {
        fail("it is not JSON: " + reason + " at byte " + std::to_string(at_));
    }

    void skip_space() {
        while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) ++at_;
    }
    bool next_is(char expected) const { return at_ < text_.size() && text_[at_] == expected; }
    void expect(char expected) {
        skip_space();
        if (!next_is(expected)) fail_here(std::string("expected ") + expected);
        ++at_;
    }
    bool take_word(std::string_view word) {
        if (text_.substr(at_, word.size()) != word) return false;
        at_ += word.size();
        return true;
    }

    Value value(int depth) {
        if (depth > max_depth) fail("it is nested more than " + std::to_string(max_depth) + " deep");
        skip_space();
        Value result;
        if (next_is('{')) return object(depth);
        if (next_is('[')) return array(depth);
        if (next_is('"')) {
            result.kind = Value::Kind::text;
            result.text = string();
        } else if (take_word("true") || take_word("false")) {
            result.kind = Value::Kind::boolean;
            result.boolean = text_[at_ - 2] == 'u';
        } else if (!take_word("null")) {
            return number();
        }
        return result;
    }

    Value object(int depth) {
        Value result;
        result.kind = Value::Kind::object;
        std::set<std::string> keys;
        ++at_;
        skip_space();
        if (next_is('}')) {
            ++at_;
            return result;
        }
        while (true) {
            skip_space();
            if (!next_is('"')) fail_here("expected a key");
            std::string key = string();
            if (!keys.insert(key).second) {
                fail("the key '" + key.substr(0, 80) + "' occurs twice in one object");
            }
            expect(':');
            result.fields.emplace_back(std::move(key), value(depth + 1));
            skip_space();
            if (next_is(',')) {
                ++at_;
                continue;
            }
            expect('}');
            return result;
        }
    }

    Value array(int depth) {
        Value result;
        result.kind = Value::Kind::array;
        ++at_;
        skip_space();
        if (next_is(']')) {
            ++at_;
            return result;
        }
        while (true) {
            result.items.push_back(value(depth + 1));
            skip_space();
            if (next_is(',')) {
                ++at_;
                continue;
            }
            expect(']');
            return result;
        }
    }

    std::size_t digits() {
        const std::size_t start = at_;
        while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
        if (at_ == start) fail_here("expected a value");
        return at_ - start;
    }

    Value number() {
        Value result;
        result.kind = Value::Kind::number;
        const std::size_t start = at_;
        if (next_is('-')) ++at_;
        const std::size_t first = at_;
        const std::size_t count = digits();
        if (count > 1 && text_[first] == '0') fail_here("a number begins with 0");
        bool whole = true;
        if (next_is('.')) {
            whole = false;
            ++at_;
            digits();
        }
        if (next_is('e') || next_is('E')) {
            whole = false;
            ++at_;
            if (next_is('+') || next_is('-')) ++at_;
            digits();
        }
        const std::string digits_text(text_.substr(start, at_ - start));
        if (whole && count > max_digits) {
            fail("a whole number has " + std::to_string(count) + " digits, expected up to " + std::to_string(max_digits));
        }
        if (whole && count <= 18) {
            result.whole = true;
            result.integer = std::stoll(digits_text);
        }
        // The classic locale writes a point; std::strtod would follow the user's.
        std::istringstream stream(digits_text);
        stream.imbue(std::locale::classic());
        if (!(stream >> result.number) && result.number != 0.0) {
            fail("the number " + digits_text.substr(0, 20) + " is too large for a float64");
        }
        return result;
    }

    std::uint32_t hex4() {
        if (at_ + 4 > text_.size()) fail_here("expected four hexadecimal digits");
        std::uint32_t code = 0;
        for (int place = 0; place < 4; ++place, ++at_) {
            const char digit = text_[at_];
            const int part = digit >= '0' && digit <= '9'   ? digit - '0'
                             : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
                             : digit >= 'A' && digit <= 'F' ? digit - 'A' + 10
                                                            : -1;
            if (part < 0) fail_here("expected four hexadecimal digits");
            code = code * 16 + static_cast<std::uint32_t>(part);
        }
        return code;
    }

    std::uint32_t escaped_point() {
        const std::uint32_t code = hex4();
        if (code < 0xD800 || code > 0xDFFF) return code;
        if (code < 0xDC00 && take_word("\\u")) {
            const std::uint32_t low = hex4();
            if (low >= 0xDC00 && low <= 0xDFFF) return 0x10000 + ((code - 0xD800) << 10U) + (low - 0xDC00);
        }
        fail("a text holds half of a surrogate pair (\\ud800 to \\udfff)");
    }

    static void append(std::string& result, std::uint32_t point) {
        const auto byte = [](std::uint32_t bits) { return static_cast<char>(static_cast<unsigned char>(bits)); };
        if (point < 0x80) {
            result += byte(point);
        } else if (point < 0x800) {
            result += byte(0xC0U | (point >> 6U));
            result += byte(0x80U | (point & 0x3FU));
        } else if (point < 0x10000) {
            result += byte(0xE0U | (point >> 12U));
            result += byte(0x80U | ((point >> 6U) & 0x3FU));
            result += byte(0x80U | (point & 0x3FU));
        } else {
            result += byte(0xF0U | (point >> 18U));
            result += byte(0x80U | ((point >> 12U) & 0x3FU));
            result += byte(0x80U | ((point >> 6U) & 0x3FU));
            result += byte(0x80U | (point & 0x3FU));
        }
    }

    std::string string() {
        std::string result;
        ++at_;
        while (true) {
            if (at_ >= text_.size()) fail_here("a text does not end");
            const char character = text_[at_++];
            if (character == '"') return result;
            if (static_cast<unsigned char>(character) < 0x20) fail_here("a text holds a control character");
            if (character != '\\') {
                result += character;
                continue;
            }
            if (at_ >= text_.size()) fail_here("a text does not end");
            const char escape = text_[at_++];
            static constexpr std::string_view codes = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
            if (escape == 'u') {
                append(result, escaped_point());
            } else if (const std::size_t place = codes.find(escape); place != std::string_view::npos) {
                result += meanings[place];
            } else {
                fail_here("a text holds an unknown escape");
            }
        }
    }
};

/// Parses a document in UTF-8; throws std::invalid_argument with the reason.
inline Value parse(std::string_view text) { return Parser(text).document(); }

/// A text as JSON, in quotes; what is not ASCII stays as UTF-8, and bytes that are not UTF-8 become U+FFFD.
inline std::string quoted(std::string_view text) {
    std::string result = "\"";
    for (std::size_t at = 0, length = 0; at < text.size(); at += length) {
        const std::uint32_t point = code_point(text, at, length);
        if (length == 0) {
            result += "\\ufffd";
            length = 1;
        } else if (point < 0x20 || point == 0x7F || point == '"' || point == '\\') {
            char code[16];
            std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(point));
            result += code;
        } else {
            result.append(text.substr(at, length));
        }
    }
    return result + "\"";
}

}  // namespace onnxzoo::json
