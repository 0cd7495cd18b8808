// The metadata of a PNG file that can hold an orientation, read without libpng: eXIf, XMP, and ImageMagick's raw profile.
#pragma once

#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace onnxzoo {

struct PngMetadata {
    std::optional<std::string> exif;
    std::optional<std::string> raw_profile;  ///< lines: an empty one, a name, a length, then hexadecimal digits
    std::string xmp;
    std::string problem;  ///< not empty for a text for which Pillow refuses the file
};

namespace detail {

inline constexpr std::size_t max_text_bytes = std::size_t{1} << 20U;

/// What a zlib stream holds; none if it is damaged. Sets `problem` if that is more than a text may have.
inline std::optional<std::string> inflated(std::string_view data, std::string& problem) {
    std::string result(max_text_bytes, '\0');
    z_stream stream{};
    if (inflateInit(&stream) != Z_OK) return std::nullopt;
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
    stream.avail_in = static_cast<uInt>(data.size());
    stream.next_out = reinterpret_cast<Bytef*>(result.data());
    stream.avail_out = static_cast<uInt>(result.size());
    const int outcome = inflate(&stream, Z_FINISH);
    if (outcome != Z_STREAM_END && stream.avail_out == 0) problem = "a text has more than 1048576 bytes";
    result.resize(result.size() - stream.avail_out);
    inflateEnd(&stream);
    if (outcome != Z_STREAM_END) return std::nullopt;
    return result;
}

inline constexpr std::string_view xmp_key = "XML:com.adobe.xmp", profile_key = "Raw profile type exif";

/// The parts of a text chunk: tEXt is key, 0, text; zTXt has a method before a compressed text; iTXt has more fields.
inline void read_png_text(PngMetadata& found, std::string_view kind, std::string_view data) {
    const std::size_t end = data.find('\0');
    if (end == std::string_view::npos) return;
    const std::string_view key = data.substr(0, end);
    if (kind == "zTXt" && end + 1 < data.size() && data[end + 1] != 0) found.problem = "unknown compression of a text";
    if (key != xmp_key && key != profile_key) return;
    std::string_view rest = data.substr(end + 1);
    bool compressed = kind == "zTXt";
    if (kind == "iTXt") {
        if (rest.size() < 2 || (rest[0] != 0 && rest[1] != 0)) return;
        compressed = rest[0] != 0;
        rest.remove_prefix(2);
        for (int field = 0; field < 2; ++field) {
            const std::size_t stop = rest.find('\0');
            if (stop == std::string_view::npos) return;
            rest.remove_prefix(stop + 1);
        }
    } else if (compressed) {
        if (rest.empty() || rest[0] != 0) return;
        rest.remove_prefix(1);
    }
    std::optional<std::string> text = compressed ? inflated(rest, found.problem) : std::string(rest);
    if (!text) return;
    if (key == xmp_key) found.xmp = std::move(*text);
    else found.raw_profile = std::move(*text);
}

/// The bytes of a raw profile; none if it is damaged.
inline std::optional<std::string> bytes_of_profile(std::string_view text) {
    for (int line = 0; line < 3; ++line) {
        const std::size_t end = text.find('\n');
        if (end == std::string_view::npos) return std::string();
        text.remove_prefix(end + 1);
    }
    std::string result, digits;
    for (const char character : text) {
        if (character == '\n' || character == ' ') continue;
        const std::size_t place = std::string_view("0123456789abcdefABCDEF").find(character);
        if (place == std::string_view::npos) return std::nullopt;
        digits += static_cast<char>(place < 16 ? place : place - 6);
    }
    if (digits.size() % 2 != 0) return std::nullopt;
    for (std::size_t at = 0; at < digits.size(); at += 2) {
        result += static_cast<char>(static_cast<unsigned char>(digits[at] * 16 + digits[at + 1]));
    }
    return result;
}

}  // namespace detail

/// Collects the metadata from the chunks of a PNG file, up to the first that does not fit the file.
inline PngMetadata read_png_metadata(const std::uint8_t* data, std::size_t size) {
    PngMetadata found;
    std::string_view rest(reinterpret_cast<const char*>(data), size);
    rest.remove_prefix(rest.size() < 8 ? rest.size() : 8);
    while (rest.size() >= 12) {
        std::size_t length = 0;
        for (std::size_t at = 0; at < 4; ++at) length = (length << 8U) | static_cast<unsigned char>(rest[at]);
        const std::string_view kind = rest.substr(4, 4);
        if (kind == "IEND" || length > rest.size() - 12) break;
        const std::string_view body = rest.substr(8, length);
        if (kind == "eXIf") found.exif = std::string(body);
        else if (kind == "tEXt" || kind == "zTXt" || kind == "iTXt") detail::read_png_text(found, kind, body);
        rest.remove_prefix(length + 12);
    }
    return found;
}

}  // namespace onnxzoo
