// RGB pixels, and turning them upright.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "error.hpp"

namespace onnxzoo {

/// Width times height of the largest image that is decoded: the limit of onnxzoo/image_memory.py.
inline constexpr std::int64_t default_max_pixels = 89478485;

/// An image: `pixels` has height x width x 3 bytes, rows from the top, channels R, G, B.
struct RgbImage {
    int width = 0;
    int height = 0;
    std::vector<std::uint8_t> pixels;

    static RgbImage of_size(int width, int height) {
        return {width, height, std::vector<std::uint8_t>(static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3)};
    }
    const std::uint8_t* at(int x, int y) const { return pixels.data() + offset(x, y); }
    std::uint8_t* at(int x, int y) { return pixels.data() + offset(x, y); }

private:
    std::size_t offset(int x, int y) const {
        return (static_cast<std::size_t>(y) * static_cast<std::size_t>(width) + static_cast<std::size_t>(x)) * 3;
    }
};

/// Throws ImageError if an image has no pixels, or more than `max_pixels`; called before any memory is taken for them.
inline void require_pixels(const std::string& name, std::int64_t width, std::int64_t height, std::int64_t max_pixels) {
    if (width < 1 || height < 1) throw ImageError(name + " has no pixels; expected at least 1 x 1");
    if (width > max_pixels / height) {
        throw ImageError(name + " is too large: " + std::to_string(width) + " x " + std::to_string(height) +
                         " pixels, the limit is " + std::to_string(max_pixels) +
                         " in all; make it smaller first, or raise the limit: --max-pixels or ONNXZOO_MAX_PIXELS");
    }
}

/// The image turned by an EXIF orientation, 1..8; any other value leaves it as it is.
inline RgbImage upright(RgbImage image, int orientation) {
    if (orientation < 2 || orientation > 8) return image;
    const bool swapped = orientation >= 5;
    const bool from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    const bool from_bottom = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    RgbImage result = swapped ? RgbImage::of_size(image.height, image.width) : RgbImage::of_size(image.width, image.height);
    for (int y = 0; y < result.height; ++y) {
        for (int x = 0; x < result.width; ++x) {
            const int across = swapped ? y : x, down = swapped ? x : y;
            const std::uint8_t* from = image.at(from_right ? image.width - 1 - across : across,
                                                from_bottom ? image.height - 1 - down : down);
            std::uint8_t* to = result.at(x, y);
            to[0] = from[0], to[1] = from[1], to[2] = from[2];
        }
    }
    return result;
}

}  // namespace onnxzoo
