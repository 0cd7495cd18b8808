// The command line of zoo-predict.
#pragma once

#include <onnxzoo/error.hpp>
#include <onnxzoo/pixels.hpp>

#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

struct Options {
    std::string artifact;
    std::vector<std::string> images;
    std::string engine;
    std::size_t top_k = 5;
    int threads = 0;
    std::int64_t max_pixels = onnxzoo::default_max_pixels;
    bool json = false;
    bool logits = false;
    bool help = false;
};

inline constexpr const char* usage = R"(usage: zoo-predict [OPTIONS] ARTIFACT IMAGE...

Classify images with a model from an artifact's folder, such as 'onnxzoo export' writes.

  --top-k N       classes to show per image (default: 5)
  --json          print one JSON document
  --logits        add the logits to the JSON document
  --engine NAME   openvino or onnxruntime (default: the first that was built in)
  --threads N     threads of the engine
  --max-pixels N  largest width times height of an image (default: 89478485, or ONNXZOO_MAX_PIXELS)
  --help          show this text

Exit codes: 0 done, 1 an image or the model was rejected, 2 wrong usage, 3 something needed is missing.
)";

/// A whole number from 1 to `most`. Throws InputError naming `what`.
inline std::int64_t whole_number(const std::string& what, std::string_view text, std::int64_t most) {
    std::int64_t value = 0;
    bool good = !text.empty() && text.size() <= 18;
    for (const char digit : text) {
        good = good && digit >= '0' && digit <= '9';
        if (good) value = value * 10 + (digit - '0');
    }
    if (!good || value < 1 || value > most) {
        throw onnxzoo::InputError(what + " must be a whole number from 1 to " + std::to_string(most) + ", got '" +
                                  std::string(text) + "'");
    }
    return value;
}

/// Reads the arguments after the program's name. Throws InputError for wrong usage.
inline Options parse_options(const std::vector<std::string>& arguments) {
    constexpr std::int64_t most_pixels = 999999999999999999;
    Options options;
    if (const char* limit = std::getenv("ONNXZOO_MAX_PIXELS"); limit != nullptr && *limit != '\0') {
        options.max_pixels = whole_number("the environment variable ONNXZOO_MAX_PIXELS", limit, most_pixels);
    }
    std::vector<std::string> places;
    bool only_places = false;
    for (std::size_t at = 0; at < arguments.size(); ++at) {
        std::string name = arguments[at];
        if (only_places || name.size() < 2 || name[0] != '-') {
            places.push_back(name);
            continue;
        }
        std::optional<std::string> given;
        if (const std::size_t equals = name.find('='); equals != std::string::npos) {
            given = name.substr(equals + 1);
            name.resize(equals);
        }
        const auto value = [&]() -> std::string {
            if (given) return *given;
            if (++at == arguments.size()) throw onnxzoo::InputError(name + " needs a value; see zoo-predict --help");
            return arguments[at];
        };
        if (name == "--top-k") options.top_k = static_cast<std::size_t>(whole_number(name, value(), 1000000000));
        else if (name == "--threads") options.threads = static_cast<int>(whole_number(name, value(), 4096));
        else if (name == "--max-pixels") options.max_pixels = whole_number(name, value(), most_pixels);
        else if (name == "--engine") options.engine = value();
        else if (given) throw onnxzoo::InputError("no option " + name + " takes a value; see zoo-predict --help");
        else if (name == "--json") options.json = true;
        else if (name == "--logits") options.logits = true;
        else if (name == "--help" || name == "-h") options.help = true;
        else if (name == "--") only_places = true;
        else throw onnxzoo::InputError("there is no option " + name + "; see zoo-predict --help");
    }
    if (options.help) return options;
    if (options.logits && !options.json) throw onnxzoo::InputError("--logits needs --json; give both");
    if (places.size() < 2) {
        throw onnxzoo::InputError("expected an artifact's folder and at least one image; see zoo-predict --help");
    }
    options.artifact = places.front();
    options.images.assign(places.begin() + 1, places.end());
    return options;
}
