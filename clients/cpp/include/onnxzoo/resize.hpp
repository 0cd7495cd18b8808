// Pillow's antialiased resize of 8-bit images, bit for bit (Pillow, src/libImaging/Resample.c), of a crop only.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "artifact.hpp"
#include "pixels.hpp"

namespace onnxzoo {

/// A square of the resized image: `left`, `top` and `size` in its pixels; the resized image has width x height.
struct Crop {
    std::int64_t width = 0;
    std::int64_t height = 0;
    std::int64_t left = 0;
    std::int64_t top = 0;
    int size = 0;
};

namespace detail {

/// A product that is rounded before it is added to something. Compilers may otherwise fuse the two (aarch64 and
/// -march=native), which changes the last bit; a header cannot set -ffp-contract=off for those who include it.
inline double product(double left, double right) {
    const volatile double rounded = left * right;
    return rounded;
}

inline double filter_support(Interpolation filter) {
    return filter == Interpolation::lanczos ? 3.0 : filter == Interpolation::bicubic ? 2.0 : 1.0;
}

inline double sinc(double x) {
    if (x == 0.0) return 1.0;
    x *= 3.14159265358979323846;
    return std::sin(x) / x;
}

/// The weight at distance x from the centre; bicubic is Keys' with a = -0.5.
inline double filter_weight(Interpolation filter, double x) {
    if (filter == Interpolation::lanczos) return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0;
    x = std::fabs(x);
    if (filter == Interpolation::bilinear) return x < 1.0 ? 1.0 - x : 0.0;
    constexpr double a = -0.5;
    if (x < 1.0) return product(product(product(a + 2.0, x) - (a + 3.0), x), x) + 1.0;
    if (x < 2.0) return product(product(product(x - 5.0, x) + 8.0, x) - 4.0, a);
    return 0.0;
}

/// The source pixels of one output pixel, from `first`, and their weights in fixed point.
struct Taps {
    int first = 0;
    std::vector<std::int32_t> weights;
};

inline constexpr int weight_bits = 32 - 8 - 2;

/// The taps of output pixels `begin` to `begin + count` when `source` pixels become `target`.
inline std::vector<Taps> taps_of(Interpolation filter, int source, std::int64_t target, std::int64_t begin, int count) {
    const double scale = static_cast<double>(source) / static_cast<double>(target);
    const double filter_scale = std::max(scale, 1.0);
    const double support = product(filter_support(filter), filter_scale), step = 1.0 / filter_scale;
    std::vector<Taps> result(static_cast<std::size_t>(count));
    std::vector<double> weights;
    for (int at = 0; at < count; ++at) {
        const double centre = product(static_cast<double>(begin + at) + 0.5, scale);
        const int first = std::max(static_cast<int>(centre - support + 0.5), 0);
        const int length = std::min(static_cast<int>(centre + support + 0.5), source) - first;
        weights.assign(static_cast<std::size_t>(std::max(length, 0)), 0.0);
        double total = 0.0;
        for (int tap = 0; tap < length; ++tap) {
            const double weight = filter_weight(filter, product(tap + first - centre + 0.5, step));
            weights[static_cast<std::size_t>(tap)] = weight;
            total += weight;
        }
        Taps& taps = result[static_cast<std::size_t>(at)];
        taps.first = first;
        taps.weights.reserve(weights.size());
        for (const double weight : weights) {
            const double fixed = product(total != 0.0 ? weight / total : weight, 1 << weight_bits);
            taps.weights.push_back(static_cast<std::int32_t>(fixed < 0 ? fixed - 0.5 : fixed + 0.5));
        }
    }
    return result;
}

inline std::uint8_t to_byte(std::int32_t sum) {
    return static_cast<std::uint8_t>(std::clamp(sum >> weight_bits, 0, 255));
}

/// The taps of an axis that keeps its size.
inline std::vector<Taps> unchanged(std::int64_t begin, int count) {
    std::vector<Taps> result(static_cast<std::size_t>(count));
    for (int at = 0; at < count; ++at) {
        result[static_cast<std::size_t>(at)] = {static_cast<int>(begin) + at, {1 << weight_bits}};
    }
    return result;
}

/// Pillow takes the nearest pixel by adding up the scale (Geometry.c, ImagingScaleAffine); the rounding errors count.
inline std::vector<Taps> nearest_taps(int source, std::int64_t target, std::int64_t begin, int count) {
    const double scale = static_cast<double>(source) / static_cast<double>(target);
    double place = product(scale, 0.5);
    std::vector<Taps> result;
    for (std::int64_t at = 0; at < begin + count; ++at, place += scale) {
        if (at < begin) continue;
        const int nearest = static_cast<int>(place);
        result.push_back({std::min(nearest, source - 1), {nearest < source ? 1 << weight_bits : 0}});
    }
    return result;
}

inline std::vector<Taps> axis_taps(Interpolation filter, int source, std::int64_t target, std::int64_t begin, int count) {
    if (source == target) return unchanged(begin, count);
    if (filter == Interpolation::nearest) return nearest_taps(source, target, begin, count);
    return taps_of(filter, source, target, begin, count);
}

}  // namespace detail

/// The crop of the resized image: crop.size x crop.size x 3 bytes. Rows are resized first and rounded to bytes, then
/// columns; only what the crop needs is computed. The crop must lie within the resized image.
inline std::vector<std::uint8_t> resize_and_crop(const RgbImage& image, const Crop& crop, Interpolation filter) {
    const auto across = detail::axis_taps(filter, image.width, crop.width, crop.left, crop.size);
    const auto down = detail::axis_taps(filter, image.height, crop.height, crop.top, crop.size);
    const int top = down.front().first;
    const int bottom = std::max(down.back().first + static_cast<int>(down.back().weights.size()), top);
    const auto side = static_cast<std::size_t>(crop.size);
    constexpr std::int32_t half = 1 << (detail::weight_bits - 1);

    std::vector<std::uint8_t> rows(static_cast<std::size_t>(bottom - top) * side * 3);
    std::uint8_t* to = rows.data();
    for (int y = top; y < bottom; ++y) {
        for (const detail::Taps& taps : across) {
            const std::uint8_t* from = image.at(taps.first, y);
            std::int32_t sums[3] = {half, half, half};
            for (const std::int32_t weight : taps.weights) {
                for (int channel = 0; channel < 3; ++channel) sums[channel] += *from++ * weight;
            }
            for (const std::int32_t sum : sums) *to++ = detail::to_byte(sum);
        }
    }
    std::vector<std::uint8_t> result(side * side * 3);
    to = result.data();
    for (const detail::Taps& taps : down) {
        const std::uint8_t* column = rows.data() + static_cast<std::size_t>(taps.first - top) * side * 3;
        for (std::size_t at = 0; at < side * 3; ++at, ++column) {
            std::int32_t sum = half;
            const std::uint8_t* from = column;
            for (const std::int32_t weight : taps.weights) {
                sum += *from * weight;
                from += side * 3;
            }
            *to++ = detail::to_byte(sum);
        }
    }
    return result;
}

}  // namespace onnxzoo
