// Fuzz target (libFuzzer) of what reads untrusted bytes: the decoders with their metadata, the resize, and config.json.
#include <onnxzoo/artifact.hpp>
#include <onnxzoo/decode.hpp>
#include <onnxzoo/preprocess.hpp>

#include <zlib.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>

namespace {

const onnxzoo::Preprocess spec{36, 32, onnxzoo::Interpolation::bicubic, {0.485, 0.456, 0.406}, {0.229, 0.224, 0.225}};

void decode(const std::uint8_t* data, std::size_t size) {
    // The limit keeps a run short; it is checked before any pixel is decoded.
    const onnxzoo::RgbImage image = onnxzoo::decode_image(data, size, "image", 1 << 20);
    const auto area = static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height);
    if (area == 0 || image.pixels.size() != area * 3) std::abort();
    for (const float value : onnxzoo::preprocess(image, spec, "image")) {
        if (!(std::fabs(value) < 3)) std::abort();
    }
}

/// Gives every chunk of a PNG the right checksum; otherwise hardly any changed one would get past it.
void set_checksums(std::uint8_t* data, std::size_t size) {
    const auto number = [&](std::size_t at) {
        return std::size_t{data[at]} << 24U | std::size_t{data[at + 1]} << 16U | std::size_t{data[at + 2]} << 8U | data[at + 3];
    };
    for (std::size_t at = 8; at + 12 <= size;) {
        const std::size_t length = number(at);
        if (length > size - at - 12) return;
        const auto checksum = static_cast<std::uint32_t>(crc32(0, data + at + 4, static_cast<uInt>(length + 4)));
        for (std::size_t place = 0; place < 4; ++place) {
            data[at + 8 + length + place] = static_cast<std::uint8_t>(checksum >> (24 - 8 * place));
        }
        at += length + 12;
    }
}

}  // namespace

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed) {
    size = LLVMFuzzerMutate(data, size, most);
    // One in eight keeps its wrong checksums.
    if (seed % 8 != 0 && onnxzoo::is_png(data, size)) set_checksums(data, size);
    return size;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    try {
        if (size > 0 && data[0] == '{') {
            const auto artifact = onnxzoo::parse_artifact("folder", {reinterpret_cast<const char*>(data), size});
            if (artifact.labels.empty() || artifact.model.path.empty()) std::abort();
        } else {
            decode(data, size);
        }
    } catch (const onnxzoo::Error& error) {
        // A message is one line that can be printed.
        if (onnxzoo::one_line(error.what()).find('\n') != std::string::npos) std::abort();
    }
    return 0;
}
