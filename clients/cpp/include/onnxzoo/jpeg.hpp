// JPEG images by libjpeg-turbo, with the settings of Pillow: full size, accurate DCT, smooth upsampling.
#pragma once

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

#include <jpeglib.h>
// jpeglib.h must come first.
#include <jerror.h>

#include "error.hpp"
#include "orientation.hpp"
#include "pixels.hpp"

namespace onnxzoo {

namespace detail {

/// Scans of a progressive JPEG; a small file with a great many would keep the decoder busy for hours.
inline constexpr int max_jpeg_scans = 500;

struct JpegState {
    jpeg_decompress_struct info{};
    jpeg_error_mgr errors{};
    jpeg_progress_mgr progress{};
    std::jmp_buf jump{};
    std::array<char, JMSG_LENGTH_MAX> message{};
    bool damaged = false;  ///< the decoder went on after damaged data, and invented pixels
    std::string exif, xmp, row;
    bool has_exif = false;
    RgbImage image;

    JpegState() = default;
    JpegState(const JpegState&) = delete;
    JpegState& operator=(const JpegState&) = delete;
    ~JpegState() { jpeg_destroy_decompress(&info); }
};

inline JpegState& state_of(j_common_ptr info) { return *static_cast<JpegState*>(info->client_data); }

[[noreturn]] inline void jpeg_failed(j_common_ptr info) {
    JpegState& state = state_of(info);
    info->err->format_message(info, state.message.data());
    std::longjmp(state.jump, 1);
}

/// Called for warnings (level -1) and traces.
inline void jpeg_warned(j_common_ptr info, int level) {
    static constexpr int harmful[] = {JWRN_HIT_MARKER, JWRN_HUFF_BAD_CODE,  JWRN_JPEG_EOF,         JWRN_MUST_RESYNC,
                                      JWRN_ARITH_BAD_CODE, JWRN_NOT_SEQUENTIAL, JWRN_BOGUS_PROGRESSION};
    JpegState& state = state_of(info);
    if (level >= 0 || state.damaged) return;
    if (std::find(std::begin(harmful), std::end(harmful), info->err->msg_code) == std::end(harmful)) return;
    info->err->format_message(info, state.message.data());
    state.damaged = true;
}

inline void jpeg_progressed(j_common_ptr info) {
    JpegState& state = state_of(info);
    if (!info->is_decompressor || state.info.input_scan_number <= max_jpeg_scans) return;
    std::snprintf(state.message.data(), state.message.size(), "it has more than %d scans", max_jpeg_scans);
    std::longjmp(state.jump, 1);
}

/// Ink and black as Adobe stores them, inverted, to RGB by the formula of Pillow (Convert.c, cmyk2rgb).
inline void cmyk_to_rgb(const std::uint8_t* from, std::uint8_t* to, int pixels) {
    for (int at = 0; at < pixels; ++at, from += 4, to += 3) {
        const int light = from[3];  // 255 - black
        for (int channel = 0; channel < 3; ++channel) {
            const int product = (255 - from[channel]) * light + 128;
            to[channel] = static_cast<std::uint8_t>(light - (((product >> 8) + product) >> 8));
        }
    }
}

inline void keep_jpeg_metadata(JpegState& state) {
    static constexpr std::string_view exif("Exif\0\0", 6), xmp("http://ns.adobe.com/xap/1.0/\0", 29);
    for (auto* marker = state.info.marker_list; marker != nullptr; marker = marker->next) {
        const std::string_view data(reinterpret_cast<const char*>(marker->data), marker->data_length);
        if (marker->marker != JPEG_APP0 + 1) continue;
        if (data.substr(0, exif.size()) == exif) {
            state.exif += state.has_exif ? data.substr(exif.size()) : data;  // long metadata comes in several parts
            state.has_exif = true;
        } else if (data.substr(0, xmp.size()) == xmp) {
            state.xmp = data.substr(xmp.size());
        }
    }
}

/// Reads the header. Returns false after an error, which is in `state.message`.
/// In the functions that call setjmp, nothing with a destructor may be created after it.
inline bool read_jpeg_header(JpegState& state, const std::uint8_t* data, std::size_t size) {
    state.info.client_data = &state;
    state.info.err = jpeg_std_error(&state.errors);
    state.errors.error_exit = &jpeg_failed;
    state.errors.emit_message = &jpeg_warned;
    if (setjmp(state.jump) != 0) return false;
    jpeg_create_decompress(&state.info);
    state.progress.progress_monitor = &jpeg_progressed;
    state.info.progress = &state.progress;
    jpeg_mem_src(&state.info, data, static_cast<unsigned long>(size));
    jpeg_save_markers(&state.info, JPEG_APP0 + 1, 0xFFFF);
    jpeg_read_header(&state.info, TRUE);
    return true;
}

/// Decodes the pixels into `state.image`, whose size is set. Returns false as `read_jpeg_header` does.
inline bool read_jpeg_pixels(JpegState& state) {
    if (setjmp(state.jump) != 0) return false;
    const int components = state.info.num_components;
    state.info.out_color_space = components == 1 ? JCS_GRAYSCALE : components == 3 ? JCS_RGB : JCS_CMYK;
    state.info.dct_method = JDCT_ISLOW;
    jpeg_start_decompress(&state.info);
    if (state.info.output_components != components) {
        std::snprintf(state.message.data(), state.message.size(), "it has %d colours", state.info.output_components);
        return false;
    }
    while (state.info.output_scanline < state.info.output_height) {
        std::uint8_t* to = state.image.at(0, static_cast<int>(state.info.output_scanline));
        auto* row = components == 3 ? to : reinterpret_cast<std::uint8_t*>(state.row.data());
        jpeg_read_scanlines(&state.info, &row, 1);
        if (components == 4) cmyk_to_rgb(row, to, state.image.width);
        for (int x = 0; components == 1 && x < state.image.width; ++x) to[3 * x] = to[3 * x + 1] = to[3 * x + 2] = row[x];
    }
    jpeg_finish_decompress(&state.info);
    return true;
}

}  // namespace detail

inline bool is_jpeg(const std::uint8_t* data, std::size_t size) {
    return size >= 3 && data[0] == 0xFF && data[1] == 0xD8 && data[2] == 0xFF;
}

/// Decodes a JPEG and turns it upright. `name` is for messages.
/// Throws ImageError for an image that is damaged, incomplete or larger than `max_pixels`. It is stricter than Pillow
/// about damaged data: libjpeg warns of it and fills the rest with grey, which Pillow accepts.
inline RgbImage decode_jpeg(const std::uint8_t* data, std::size_t size, const std::string& name, std::int64_t max_pixels) {
    detail::JpegState state;
    const auto refuse = [&](const std::string& reason) {
        throw ImageError(name + " is damaged or incomplete: " + reason + "; get or save it again");
    };
    if (!detail::read_jpeg_header(state, data, size)) refuse(state.message.data());
    const std::int64_t width = state.info.image_width, height = state.info.image_height;
    if (state.info.data_precision != 8) refuse("cannot handle " + std::to_string(state.info.data_precision) + "-bit layers");
    const int components = state.info.num_components;
    if (components != 1 && components != 3 && components != 4) {
        refuse("cannot handle " + std::to_string(components) + "-layer images");
    }
    require_pixels(name, width, height, max_pixels);
    detail::keep_jpeg_metadata(state);
    state.image = RgbImage::of_size(static_cast<int>(width), static_cast<int>(height));
    if (components != 3) state.row.resize(static_cast<std::size_t>(width) * static_cast<std::size_t>(components));
    if (!detail::read_jpeg_pixels(state) || state.damaged) refuse(state.message.data());
    const auto exif = state.has_exif ? std::optional<std::string_view>(state.exif) : std::nullopt;
    return upright(std::move(state.image), orientation_of(exif, state.xmp));
}

}  // namespace onnxzoo
