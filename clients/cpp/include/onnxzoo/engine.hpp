// What runs a model, and the checks that are common to all engines.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "artifact.hpp"
#include "error.hpp"

namespace onnxzoo {

/// Runs one artifact's model in fp32 on the CPU. Not safe to use from several threads at once.
class Engine {
public:
    virtual ~Engine() = default;

    virtual std::string name() const = 0;
    virtual std::string version() const = 0;

    /// float32 [3, S, S] -> one logit per class. Throws EngineError if the engine fails, or the logits are not finite.
    std::vector<float> logits(const std::vector<float>& image) {
        const auto side = static_cast<std::size_t>(image_size_);
        if (image.size() != 3 * side * side) {
            throw InputError("the image has " + std::to_string(image.size()) + " values, expected 3 x " +
                             std::to_string(side) + " x " + std::to_string(side));
        }
        std::vector<float> result = run(image);
        if (result.size() != classes_) {
            throw EngineError(model_ + ": there are " + std::to_string(result.size()) + " logits, expected " +
                              std::to_string(classes_));
        }
        for (const float logit : result) {
            if (!std::isfinite(logit)) throw EngineError(model_ + ": logits are NaN or infinite; " + name() + " computed them");
        }
        return result;
    }

protected:
    explicit Engine(const Artifact& artifact)
        : model_(artifact.name), image_size_(artifact.image_size), classes_(artifact.labels.size()) {}

    /// The shape of an input or output as the library reports it, -1 for a size that is not fixed.
    using Shape = std::vector<std::int64_t>;

    /// Throws ArtifactError unless the shape is expected; where either has -1 the sizes may differ.
    void require_shape(const std::string& what, const Shape& got, const Shape& expected) const {
        bool good = got.size() == expected.size();
        for (std::size_t at = 0; good && at < got.size(); ++at) {
            good = got[at] < 0 || expected[at] < 0 || got[at] == expected[at];
        }
        if (!good) {
            throw ArtifactError("the ONNX file of " + model_ + " does not fit its config.json: " + what + " has shape " +
                                shown(got) + ", expected " + shown(expected) + "; export or download the model again");
        }
    }
    [[noreturn]] void refuse_missing(const std::string& what) const {
        throw ArtifactError("the ONNX file of " + model_ + " has no " + what + "; export or download the model again");
    }

    virtual std::vector<float> run(const std::vector<float>& image) = 0;

    std::string model_;
    int image_size_;
    std::size_t classes_;

private:
    static std::string shown(const Shape& shape) {
        std::string text;
        for (const std::int64_t size : shape) text += (text.empty() ? "" : " x ") + (size < 0 ? "N" : std::to_string(size));
        return text.empty() ? "of a scalar" : text;
    }
};

inline constexpr const char* input_name = "pixel_values";
inline constexpr const char* output_name = "logits";

}  // namespace onnxzoo
