// The orientation of an image from its EXIF or XMP metadata, read as Pillow reads it: damaged metadata gives none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace onnxzoo {

/// What the EXIF metadata says: `valid` is false if it is damaged; then XMP is not asked either.
struct ExifOrientation {
    bool valid = true;
    bool present = false;
    int value = 0;  ///< 0 if the tag is of no whole type
};

namespace detail {

/// A TIFF structure in memory, of either byte order; reading beyond its end is noticed, not done.
class TiffReader {
public:
    TiffReader(std::string_view data, bool little) : data_(data), little_(little) {}

    std::optional<std::uint32_t> number(std::uint64_t at, unsigned bytes) const {
        if (at > data_.size() || data_.size() - at < bytes) return std::nullopt;
        std::uint32_t value = 0;
        for (unsigned place = 0; place < bytes; ++place) {
            const auto byte = static_cast<unsigned char>(data_[at + (little_ ? bytes - 1 - place : place)]);
            value = (value << 8U) | byte;
        }
        return value;
    }
    std::uint64_t size() const { return data_.size(); }
    bool little() const { return little_; }

private:
    std::string_view data_;
    bool little_;
};

/// Bytes of one value of a TIFF type; 0 for a type that Pillow ignores.
inline unsigned tiff_type_bytes(std::uint32_t type) {
    switch (type) {
        case 1: case 2: case 6: case 7: return 1;
        case 3: case 8: return 2;
        case 4: case 9: case 11: case 13: return 4;
        case 5: case 10: case 12: case 16: return 8;
        default: return 0;
    }
}

/// The first value of a field of a whole type at `at`; 0 for other types and for values that are no orientation.
inline int whole_value(const TiffReader& tiff, std::uint32_t type, std::uint64_t at) {
    if (type == 16) {
        const auto high = tiff.number(at + (tiff.little() ? 4 : 0), 4), low = tiff.number(at + (tiff.little() ? 0 : 4), 4);
        return high && low && *high == 0 && *low <= 8 ? static_cast<int>(*low) : 0;
    }
    if (type != 3 && type != 4 && type != 6 && type != 8 && type != 9 && type != 13) return 0;
    const auto value = tiff.number(at, tiff_type_bytes(type));
    return value && *value <= 8 ? static_cast<int>(*value) : 0;
}

}  // namespace detail

/// The orientation in EXIF data, with or without the prefix "Exif\0\0".
inline ExifOrientation exif_orientation(std::string_view data) {
    static constexpr std::string_view prefix("Exif\0\0", 6);
    for (int times = 0; times < 2 && data.substr(0, prefix.size()) == prefix; ++times) data.remove_prefix(prefix.size());
    ExifOrientation result;
    if (data.empty()) return result;
    result.valid = false;
    const std::string_view mark = data.substr(0, 4);
    const bool little = mark.substr(0, 2) == "II";
    const bool known = mark == std::string_view("II\x2a\0", 4) || mark == std::string_view("MM\0\x2a", 4) ||
                       mark == std::string_view("II\0\x2a", 4) || mark == std::string_view("MM\x2a\0", 4);
    const detail::TiffReader tiff(data, little);
    const auto directory = tiff.number(4, 4);
    if (!known || !directory) return result;
    result.valid = true;
    const auto count = tiff.number(*directory, 2);
    std::uint64_t total = 0;
    for (std::uint32_t entry = 0; count && entry < *count; ++entry) {
        const std::uint64_t at = std::uint64_t{*directory} + 2 + std::uint64_t{entry} * 12;
        const auto tag = tiff.number(at, 2), type = tiff.number(at + 2, 2), length = tiff.number(at + 4, 4);
        const auto place = tiff.number(at + 8, 4);
        if (!tag || !type || !length || !place) break;  // the directory is cut off: what was read before it counts
        const std::uint64_t size = std::uint64_t{*length} * detail::tiff_type_bytes(*type);
        std::uint64_t where = at + 8;
        if (size > 4) {
            total += size;
            if (total > tiff.size()) continue;
            where = *place;
            if (where > tiff.size() || tiff.size() - where < size) break;
        }
        if (size == 0 || *tag != 0x0112) continue;
        result.present = true;
        result.value = detail::whole_value(tiff, *type, where);
        break;
    }
    return result;
}

/// The orientation in an XMP document, 0 if there is none: the first `tiff:Orientation="6"` or `tiff:Orientation>6`.
inline int xmp_orientation(std::string_view xmp) {
    static constexpr std::string_view name = "tiff:Orientation";
    for (std::size_t at = xmp.find(name); at != std::string_view::npos; at = xmp.find(name, at + 1)) {
        std::string_view rest = xmp.substr(at + name.size());
        if (rest.substr(0, 2) == "=\"") rest.remove_prefix(2);
        else if (rest.substr(0, 1) == ">") rest.remove_prefix(1);
        else continue;
        if (!rest.empty() && rest[0] >= '0' && rest[0] <= '9') return rest[0] - '0';
    }
    return 0;
}

/// The orientation by both, as Pillow does: XMP counts only if there is no orientation in the EXIF data.
inline int orientation_of(const std::optional<std::string_view>& exif, std::string_view xmp) {
    const ExifOrientation found = exif ? exif_orientation(*exif) : ExifOrientation{};
    if (!found.valid) return 0;
    return found.present ? found.value : xmp_orientation(xmp);
}

}  // namespace onnxzoo
