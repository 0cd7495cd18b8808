// The evaluation preprocessing of PaddleClas: an image to the input of a model.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "artifact.hpp"
#include "error.hpp"
#include "pixels.hpp"
#include "resize.hpp"

namespace onnxzoo {

/// Width times height, after resizing, of the narrowest strip that is accepted.
inline constexpr double max_resized_pixels = 1073741824.0;

/// Where the crop lies in the resized image: the short side becomes `resize_size`, the long one its rounded share.
/// Throws ImageError for an image that is too narrow; `name` is for the message.
inline Crop crop_of(int width, int height, const Preprocess& spec, const std::string& name) {
    const double ratio = static_cast<double>(spec.resize_size) / std::min(width, height);
    // Ties to even, as Python rounds.
    const double new_width = std::nearbyint(width * ratio), new_height = std::nearbyint(height * ratio);
    if (new_width * new_height > max_resized_pixels) {
        throw ImageError(name + " is too narrow: it would be resized to " +
                         std::to_string(static_cast<std::int64_t>(new_width)) + " x " +
                         std::to_string(static_cast<std::int64_t>(new_height)) + " pixels to cut out " +
                         std::to_string(spec.crop_size) + " x " + std::to_string(spec.crop_size) + ", the limit is " +
                         std::to_string(static_cast<std::int64_t>(max_resized_pixels)) +
                         " in all; crop it to the part that matters");
    }
    Crop crop{static_cast<std::int64_t>(new_width), static_cast<std::int64_t>(new_height), 0, 0, spec.crop_size};
    crop.left = (crop.width - crop.size) / 2;
    crop.top = (crop.height - crop.size) / 2;
    return crop;
}

/// The input of a model: float32 [3, crop_size, crop_size], channels R, G, B; equal to Python's, bit for bit.
/// Throws ImageError as `crop_of` does.
inline std::vector<float> preprocess(const RgbImage& image, const Preprocess& spec, const std::string& name) {
    const std::vector<std::uint8_t> pixels =
        resize_and_crop(image, crop_of(image.width, image.height, spec, name), spec.interpolation);
    const std::size_t area = pixels.size() / 3;
    std::vector<float> result(pixels.size());
    for (std::size_t channel = 0; channel < 3; ++channel) {
        const auto scale = static_cast<float>(1 / (255 * spec.std[channel]));
        const auto shift = static_cast<float>(-spec.mean[channel] / spec.std[channel]);
        // A table, in which the product is rounded before the shift is added: see `detail::product`.
        std::array<float, 256> values{};
        for (std::size_t level = 0; level < values.size(); ++level) {
            const volatile float scaled = static_cast<float>(level) * scale;
            values[level] = scaled + shift;
        }
        for (std::size_t at = 0; at < area; ++at) result[channel * area + at] = values[pixels[3 * at + channel]];
    }
    return result;
}

}  // namespace onnxzoo
