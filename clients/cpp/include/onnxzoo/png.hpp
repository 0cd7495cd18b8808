// PNG images by libpng, converted to RGB as Pillow and onnxzoo/image_reading.py convert them.
#pragma once

#include <png.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "error.hpp"
#include "orientation.hpp"
#include "pixels.hpp"
#include "png_metadata.hpp"

namespace onnxzoo {

namespace detail {

struct PngState {
    png_structp png = nullptr;
    png_infop info = nullptr;
    const std::uint8_t* data = nullptr;
    std::size_t left = 0;
    std::array<char, 200> message{};
    bool damaged = false;
    std::vector<std::uint8_t> raw;  ///< the pixels as libpng gives them
    std::vector<png_bytep> rows;

    PngState() = default;
    PngState(const PngState&) = delete;
    PngState& operator=(const PngState&) = delete;
    ~PngState() { png_destroy_read_struct(&png, &info, nullptr); }
    void keep(const char* text) { std::snprintf(message.data(), message.size(), "%s", text); }
};

[[noreturn]] inline void png_failed(png_structp png, png_const_charp text) {
    static_cast<PngState*>(png_get_error_ptr(png))->keep(text);
    png_longjmp(png, 1);
}

/// libpng only warns of pixels whose checksum is wrong, as they have been handed out by then.
inline void png_warned(png_structp png, png_const_charp text) {
    auto* state = static_cast<PngState*>(png_get_error_ptr(png));
    if (state->damaged || std::strncmp(text, "IDAT: incorrect", 15) != 0) return;
    state->damaged = true;
    state->keep(text);
}

inline void read_png_bytes(png_structp png, png_bytep to, std::size_t size) {
    auto* state = static_cast<PngState*>(png_get_io_ptr(png));
    if (size > state->left) png_error(png, "image file is truncated");
    std::memcpy(to, state->data, size);
    state->data += size;
    state->left -= size;
}

/// Chunks that do not change the pixels, as alpha, gamma and colour profiles are ignored (names of four letters and 0).
inline constexpr png_byte png_skipped_chunks[] =
    "bKGD\0cHRM\0eXIf\0gAMA\0hIST\0iCCP\0iTXt\0oFFs\0pCAL\0pHYs\0sBIT\0sCAL\0sPLT\0sRGB\0tEXt\0tIME\0tRNS\0zTXt";
inline constexpr int png_skipped_count = sizeof png_skipped_chunks / 5;

/// Reads the header. Returns false after an error, which is in `state.message`.
/// In the functions that call setjmp, nothing with a destructor may be created after it.
inline bool read_png_header(PngState& state) {
    if (state.png == nullptr || state.info == nullptr) {
        state.keep("there is no memory for it");
        return false;
    }
    if (setjmp(png_jmpbuf(state.png)) != 0) return false;
    png_set_read_fn(state.png, &state, &read_png_bytes);
    png_set_user_limits(state.png, 0x7FFFFFFF, 0x7FFFFFFF);
    // libpng takes memory for a chunk before it reads it: up to 2 GiB for a chunk that only says that it is so long.
    png_set_chunk_malloc_max(state.png, state.left);
    png_set_keep_unknown_chunks(state.png, PNG_HANDLE_CHUNK_NEVER, png_skipped_chunks, png_skipped_count);
    png_set_crc_action(state.png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    png_read_info(state.png, state.info);
    return true;
}

/// Decodes into `state.raw`: 8-bit RGB, 8- or 16-bit grey, or palette indices, without alpha.
inline bool read_png_pixels(PngState& state) {
    if (setjmp(png_jmpbuf(state.png)) != 0) return false;
    const int type = png_get_color_type(state.png, state.info), depth = png_get_bit_depth(state.png, state.info);
    if (type == PNG_COLOR_TYPE_PALETTE) png_set_packing(state.png);
    if (type == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(state.png);
    if (type != PNG_COLOR_TYPE_GRAY && depth == 16) png_set_strip_16(state.png);
    if ((type & PNG_COLOR_MASK_ALPHA) != 0) png_set_strip_alpha(state.png);
    png_set_interlace_handling(state.png);
    png_read_update_info(state.png, state.info);
    const std::size_t row = png_get_rowbytes(state.png, state.info), height = state.rows.size();
    state.raw.resize(row * height);
    for (std::size_t y = 0; y < height; ++y) state.rows[y] = state.raw.data() + y * row;
    png_read_image(state.png, state.rows.data());
    png_read_end(state.png, nullptr);
    return true;
}

/// The colours by index; indices beyond the palette are black, as in Pillow.
inline std::array<std::array<std::uint8_t, 3>, 256> png_palette(const PngState& state) {
    std::array<std::array<std::uint8_t, 3>, 256> colours{};
    png_colorp entries = nullptr;
    int count = 0;
    if (png_get_PLTE(state.png, state.info, &entries, &count) != 0) {
        for (std::size_t index = 0; index < static_cast<std::size_t>(std::clamp(count, 0, 256)); ++index) {
            colours[index] = {entries[index].red, entries[index].green, entries[index].blue};
        }
    }
    return colours;
}

/// `state.raw` as RGB. 16-bit grey is scaled, round(value / 257).
inline void png_to_rgb(PngState& state, RgbImage& image) {
    const std::size_t pixels = state.raw.size() / png_get_channels(state.png, state.info);
    if (png_get_channels(state.png, state.info) == 3) {
        image.pixels = std::move(state.raw);
        return;
    }
    const bool deep = png_get_bit_depth(state.png, state.info) == 16;
    const bool indexed = png_get_color_type(state.png, state.info) == PNG_COLOR_TYPE_PALETTE;
    const auto colours = png_palette(state);
    image.pixels.resize((deep ? pixels / 2 : pixels) * 3);
    const std::uint8_t* from = state.raw.data();
    for (std::size_t at = 0; at < image.pixels.size(); at += 3, from += deep ? 2 : 1) {
        if (indexed) {
            std::copy(colours[*from].begin(), colours[*from].end(), image.pixels.begin() + static_cast<std::ptrdiff_t>(at));
            continue;
        }
        const unsigned grey = deep ? ((from[0] * 256U + from[1]) + 128U) / 257U : from[0];
        image.pixels[at] = image.pixels[at + 1] = image.pixels[at + 2] = static_cast<std::uint8_t>(grey);
    }
}

}  // namespace detail

inline bool is_png(const std::uint8_t* data, std::size_t size) {
    return size >= 8 && std::memcmp(data, "\x89PNG\r\n\x1a\n", 8) == 0;
}

/// Decodes a PNG, the first image of an animated one, and turns it upright. `name` is for messages.
/// Throws ImageError for an image that is damaged, incomplete or larger than `max_pixels`.
inline RgbImage decode_png(const std::uint8_t* data, std::size_t size, const std::string& name, std::int64_t max_pixels) {
    detail::PngState state;
    const auto refuse = [&](const std::string& reason) {
        throw ImageError(name + " is damaged or incomplete: " + one_line(reason) + "; get or save it again");
    };
    state.data = data;
    state.left = size;
    state.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &state, &detail::png_failed, &detail::png_warned);
    if (state.png != nullptr) state.info = png_create_info_struct(state.png);
    if (!detail::read_png_header(state)) refuse(state.message.data());
    const std::int64_t width = png_get_image_width(state.png, state.info);
    const std::int64_t height = png_get_image_height(state.png, state.info);
    require_pixels(name, width, height, max_pixels);
    RgbImage image{static_cast<int>(width), static_cast<int>(height), {}};
    state.rows.resize(static_cast<std::size_t>(height));
    if (!detail::read_png_pixels(state) || state.damaged) refuse(state.message.data());
    detail::png_to_rgb(state, image);
    PngMetadata metadata = read_png_metadata(data, size);
    if (!metadata.problem.empty()) refuse(metadata.problem);
    if (!metadata.exif && metadata.raw_profile) {
        metadata.exif = detail::bytes_of_profile(*metadata.raw_profile);
        if (!metadata.exif) return image;  // as Pillow, which asks no other metadata if this one is damaged
    }
    const auto exif = metadata.exif ? std::optional<std::string_view>(*metadata.exif) : std::nullopt;
    return upright(std::move(image), orientation_of(exif, metadata.xmp));
}

}  // namespace onnxzoo
