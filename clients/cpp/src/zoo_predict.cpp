// zoo-predict: classifies images with a model from an artifact folder.
#include <onnxzoo/artifact.hpp>
#include <onnxzoo/classes.hpp>
#include <onnxzoo/decode.hpp>
#include <onnxzoo/json.hpp>
#include <onnxzoo/preprocess.hpp>
#ifdef ONNXZOO_WITH_OPENVINO
#include <onnxzoo/openvino.hpp>
#endif
#ifdef ONNXZOO_WITH_ONNXRUNTIME
#include <onnxzoo/onnxruntime.hpp>
#endif

#include <cstdio>
#include <exception>
#include <iostream>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "options.hpp"

namespace {

using namespace onnxzoo;

std::unique_ptr<Engine> open_engine(const Options& options, const Artifact& artifact) {
    std::string built_in;
    const auto wanted = [&](const std::string& name) {
        built_in += (built_in.empty() ? "" : ", ") + name;
        return options.engine.empty() || options.engine == name;
    };
#ifdef ONNXZOO_WITH_OPENVINO
    if (wanted("openvino")) return std::make_unique<OpenVinoEngine>(artifact, read_model(artifact), options.threads);
#endif
#ifdef ONNXZOO_WITH_ONNXRUNTIME
    if (wanted("onnxruntime")) return std::make_unique<OnnxRuntimeEngine>(artifact, read_model(artifact), options.threads);
#endif
    (void)wanted;
    if (options.engine != "openvino" && options.engine != "onnxruntime") {
        throw InputError("--engine must be openvino or onnxruntime, got '" + options.engine + "'");
    }
    throw EngineUnavailableError("the engine " + options.engine + " was not built in; built in: " + built_in +
                                 "; build with its headers");
}

std::string number(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.17g", value);
    return text;
}

std::string number(float value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.9g", static_cast<double>(value));
    return text;
}

/// Prints the results one by one.
class Writer {
public:
    Writer(const Options& options, const Artifact& artifact, const Engine& engine) : options_(options) {
        if (!options.json) return;
        std::cout << "{\n  \"model\": " << json::quoted(artifact.name) << ",\n  \"engine\": {\"name\": "
                  << json::quoted(engine.name()) << ", \"device\": \"CPU\", \"precision\": \"fp32\", \"version\": "
                  << json::quoted(engine.version()) << "},\n  \"results\": [";
    }

    void write(const std::string& image, const std::vector<float>& logits, const std::vector<ClassScore>& top) {
        if (!options_.json) {
            std::cout << one_line(image) << "\n";
            for (const ClassScore& best : top) {
                char line[64];
                std::snprintf(line, sizeof line, "  %.4f  %4zu  ", best.score, best.class_id);
                std::cout << line << escaped(best.label) << "\n";
            }
            return;
        }
        begin(image);
        std::cout << "\"top\": [";
        for (std::size_t rank = 0; rank < top.size(); ++rank) {
            std::cout << (rank > 0 ? ", " : "") << "{\"class_id\": " << top[rank].class_id
                      << ", \"label\": " << json::quoted(top[rank].label) << ", \"score\": " << number(top[rank].score) << "}";
        }
        std::cout << "]";
        for (std::size_t at = 0; options_.logits && at < logits.size(); ++at) {
            std::cout << (at > 0 ? ", " : ", \"logits\": [") << number(logits[at]) << (at + 1 == logits.size() ? "]" : "");
        }
        std::cout << "}";
    }

    void write_error(const std::string& image, const std::string& message) {
        if (!options_.json) return;
        begin(image);
        std::cout << "\"error\": " << json::quoted(message) << "}";
    }

    void end() {
        if (options_.json) std::cout << "\n  ]\n}\n";
    }

private:
    const Options& options_;
    bool first_ = true;

    void begin(const std::string& image) {
        std::cout << (first_ ? "\n" : ",\n") << "    {\"image\": " << json::quoted(image) << ", ";
        first_ = false;
    }
};

int failed(ExitCode code, const std::string& message) {
    std::cerr << "zoo-predict: error: " << one_line(message) << "\n";
    return static_cast<int>(code);
}

int predict(const Options& options) {
    const Artifact artifact = read_artifact(options.artifact);
    const std::unique_ptr<Engine> engine = open_engine(options, artifact);
    Writer writer(options, artifact, *engine);
    int code = 0;
    for (const std::string& image : options.images) {
        const auto refused = [&](const std::string& message) {
            code = failed(ExitCode::rejected, message);
            writer.write_error(image, one_line(message));
        };
        try {
            const RgbImage pixels = decode_file(image, options.max_pixels);
            const std::vector<float> logits = engine->logits(preprocess(pixels, artifact.preprocess, one_line(image)));
            writer.write(image, logits, top_classes(logits, artifact.labels, options.top_k));
        } catch (const ImageError& error) {
            refused(error.what());
        } catch (const std::bad_alloc&) {
            refused(one_line(image) + " is too large: there is no memory for it; make it smaller first");
        }
    }
    writer.end();
    std::cout.flush();
    if (!std::cout) return failed(ExitCode::rejected, "the results cannot be written; check where the output goes");
    return code;
}

}  // namespace

int main(int count, char** arguments) {
    try {
        const Options options = parse_options(std::vector<std::string>(arguments + 1, arguments + count));
        if (options.help) {
            std::cout << usage;
            return 0;
        }
        return predict(options);
    } catch (const Error& error) {
        return failed(error.code(), error.what());
    } catch (const std::exception& error) {
        return failed(ExitCode::rejected, error.what());
    }
}
