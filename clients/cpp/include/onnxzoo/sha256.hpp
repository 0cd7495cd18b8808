// SHA-256 (FIPS 180-4), so that checking a model needs no cryptographic library.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace onnxzoo {

class Sha256 {
public:
    void update(const std::uint8_t* data, std::size_t size) {
        total_ += size;
        while (size > 0) {
            const std::size_t part = std::min(size, block_.size() - used_);
            std::copy(data, data + part, block_.begin() + static_cast<std::ptrdiff_t>(used_));
            used_ += part;
            data += part;
            size -= part;
            if (used_ == block_.size()) {
                compress();
                used_ = 0;
            }
        }
    }

    /// The digest as 64 lower-case hexadecimal digits; ends the computation.
    std::string hex() {
        const std::uint64_t bits = total_ * 8;
        const std::uint8_t one = 0x80, zero = 0;
        update(&one, 1);
        while (used_ != 56) update(&zero, 1);
        std::array<std::uint8_t, 8> length{};
        for (std::size_t at = 0; at < 8; ++at) length[at] = static_cast<std::uint8_t>(bits >> (56 - 8 * at));
        update(length.data(), length.size());
        std::string result;
        for (const std::uint32_t word : state_)
            for (int shift = 28; shift >= 0; shift -= 4) result += "0123456789abcdef"[(word >> shift) & 15U];
        return result;
    }

private:
    std::array<std::uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                           0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    std::array<std::uint8_t, 64> block_{};
    std::size_t used_ = 0;
    std::uint64_t total_ = 0;

    static std::uint32_t turned(std::uint32_t word, int by) { return (word >> by) | (word << (32 - by)); }

    void compress() {
        static constexpr std::array<std::uint32_t, 64> constants = {
            0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
            0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
            0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
            0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
            0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
            0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
            0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
            0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
        std::array<std::uint32_t, 64> w{};
        for (std::size_t at = 0; at < 16; ++at) {
            w[at] = (std::uint32_t{block_[4 * at]} << 24U) | (std::uint32_t{block_[4 * at + 1]} << 16U) |
                    (std::uint32_t{block_[4 * at + 2]} << 8U) | std::uint32_t{block_[4 * at + 3]};
        }
        for (std::size_t at = 16; at < 64; ++at) {
            const std::uint32_t a = w[at - 15], b = w[at - 2];
            w[at] = w[at - 16] + (turned(a, 7) ^ turned(a, 18) ^ (a >> 3U)) + w[at - 7] +
                    (turned(b, 17) ^ turned(b, 19) ^ (b >> 10U));
        }
        auto [a, b, c, d, e, f, g, h] = state_;
        for (std::size_t at = 0; at < 64; ++at) {
            const std::uint32_t first =
                h + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + ((e & f) ^ (~e & g)) + constants[at] + w[at];
            const std::uint32_t second =
                (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
            h = g, g = f, f = e, e = d + first, d = c, c = b, b = a, a = first + second;
        }
        const std::array<std::uint32_t, 8> added = {a, b, c, d, e, f, g, h};
        for (std::size_t at = 0; at < 8; ++at) state_[at] += added[at];
    }
};

/// The SHA-256 of bytes as 64 lower-case hexadecimal digits.
inline std::string sha256_of(const std::uint8_t* data, std::size_t size) {
    Sha256 hash;
    hash.update(data, size);
    return hash.hex();
}

}  // namespace onnxzoo
