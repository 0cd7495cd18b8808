// Images from bytes or files to RGB pixels, whatever their format.
#pragma once

#include <cstdint>
#include <string>

#include "error.hpp"
#include "file.hpp"
#include "jpeg.hpp"
#include "pixels.hpp"
#include "png.hpp"

namespace onnxzoo {

inline constexpr std::size_t max_encoded_bytes = std::size_t{1} << 28U;

/// Decodes a JPEG or PNG, and turns it upright. `name` is for messages; `max_pixels` limits width times height.
/// Throws ImageError, which names the image, if it is empty, damaged, incomplete, too large or in another format.
inline RgbImage decode_image(const std::uint8_t* data, std::size_t size, const std::string& name,
                             std::int64_t max_pixels = default_max_pixels) {
    if (size == 0) {
        throw ImageError(name + " is empty: no bytes to read an image from; give the whole file, from its start");
    }
    if (is_jpeg(data, size)) return decode_jpeg(data, size, name, max_pixels);
    if (is_png(data, size)) return decode_png(data, size, name, max_pixels);
    throw ImageError(name + " is not an image in a format that this program reads; save it as PNG or JPEG");
}

/// Reads and decodes an image file; `path` may be a pipe or a device. Throws ImageError as `decode_image` does, and if
/// the file cannot be read.
inline RgbImage decode_file(const std::string& path, std::int64_t max_pixels = default_max_pixels) {
    const std::string name = one_line(path);
    const FileBytes file = read_file(path, max_encoded_bytes);
    switch (file.outcome) {
        case ReadOutcome::done: break;
        case ReadOutcome::missing:
            throw ImageError(name + " does not exist; " +
                             (path.find("://") != std::string::npos ? "download it first" : "check the path"));
        case ReadOutcome::folder:
            throw ImageError(name + " is a folder, not an image; give the images in it one by one");
        case ReadOutcome::unreadable:
            throw ImageError(name + " cannot be opened: " + file.reason + "; check the path and its permissions");
        case ReadOutcome::too_large:
            throw ImageError(name + " has more than " + std::to_string(max_encoded_bytes) +
                             " bytes, the limit for an encoded image; make it smaller first");
    }
    return decode_image(file.bytes.data(), file.bytes.size(), name, max_pixels);
}

}  // namespace onnxzoo
