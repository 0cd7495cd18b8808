// An artifact folder: its config.json, checked field by field, and the model file that it announces.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "error.hpp"
#include "file.hpp"
#include "json.hpp"
#include "sha256.hpp"

namespace onnxzoo {

inline constexpr int max_image_size = 16384;
inline constexpr std::size_t max_classes = 100000;
inline constexpr std::size_t max_config_bytes = 2U << 20U;
inline constexpr std::int64_t max_file_bytes = std::int64_t{1} << 31;
inline constexpr int schema_version = 1;

enum class Interpolation { nearest, bilinear, bicubic, lanczos };

/// Evaluation preprocessing of an RGB image: the short side resized to `resize_size`, the centre square of `crop_size`,
/// then (value / 255 - mean) / std per channel in the order R, G, B.
struct Preprocess {
    int resize_size = 0;
    int crop_size = 0;
    Interpolation interpolation = Interpolation::bicubic;
    std::array<double, 3> mean{};
    std::array<double, 3> std{};
};

/// The fp32 ONNX file that config.json announces.
struct ModelFile {
    std::string path;  ///< relative to the folder
    std::string sha256;
    std::int64_t bytes = 0;
};

/// A folder whose config.json was read and checked. `labels[i]` names class i.
struct Artifact {
    std::string folder;
    std::string name;
    int image_size = 0;
    Preprocess preprocess;
    std::vector<std::string> labels;
    ModelFile model;
};

namespace detail {

using json::Value;

/// An object of the document; every check throws std::invalid_argument, which names the field.
class Fields {
public:
    Fields(const Value& object, std::string path) : object_(object), path_(std::move(path)) {
        if (object.kind != Value::Kind::object) fail(path_ + " must be an object");
    }

    [[noreturn]] static void fail(const std::string& reason) { throw std::invalid_argument(reason); }

    std::string named(const std::string& key) const {
        return path_.empty() ? key.substr(0, 60) : path_ + "." + key.substr(0, 60);
    }
    const Value& value(const std::string& key) const {
        const Value* found = object_.find(key);
        if (found == nullptr) fail("'" + named(key) + "' is missing");
        return *found;
    }
    std::int64_t whole(const std::string& key, std::int64_t least, std::int64_t most) const {
        const Value& found = value(key);
        if (!found.whole || found.integer < least || found.integer > most) {
            fail(named(key) + " must be " +
                 (least == most ? std::to_string(least)
                                : "a whole number from " + std::to_string(least) + " to " + std::to_string(most)));
        }
        return found.integer;
    }
    std::string text(const std::string& key, std::size_t least = 0) const {
        const Value& found = value(key);
        // In characters, as Python counts them.
        std::size_t length = 0;
        for (const char byte : found.text) length += (static_cast<unsigned char>(byte) & 0xC0U) != 0x80U;
        if (found.kind != Value::Kind::text || length < least || length > 1000) {
            fail(named(key) + " must be text of " + std::to_string(least) + " to 1000 characters");
        }
        return found.text;
    }
    Fields object(const std::string& key) const { return {value(key), named(key)}; }
    const Value& raw() const { return object_; }

private:
    const Value& object_;
    std::string path_;
};

inline std::array<double, 3> three_numbers(const Fields& values, const std::string& key) {
    const Value& list = values.value(key);
    std::array<double, 3> result{};
    bool good = list.kind == Value::Kind::array && list.items.size() == 3;
    for (std::size_t channel = 0; good && channel < 3; ++channel) {
        good = list.items[channel].kind == Value::Kind::number && std::isfinite(list.items[channel].number);
        result[channel] = list.items[channel].number;
    }
    if (!good) Fields::fail(values.named(key) + " must be 3 numbers (R, G, B)");
    return result;
}

inline Preprocess parse_preprocess(const Fields& values) {
    Preprocess result;
    result.resize_size = static_cast<int>(values.whole("resize_size", 1, max_image_size));
    result.crop_size = static_cast<int>(values.whole("crop_size", 1, result.resize_size));
    const std::string filter = values.text("interpolation");
    if (filter == "nearest") result.interpolation = Interpolation::nearest;
    else if (filter == "bilinear") result.interpolation = Interpolation::bilinear;
    else if (filter == "bicubic") result.interpolation = Interpolation::bicubic;
    else if (filter == "lanczos") result.interpolation = Interpolation::lanczos;
    else Fields::fail("interpolation must be nearest, bilinear, bicubic or lanczos, got '" + filter.substr(0, 60) + "'");
    result.mean = three_numbers(values, "mean");
    result.std = three_numbers(values, "std");
    for (const double deviation : result.std) {
        if (!(deviation > 0)) Fields::fail("std must have 3 positive values (R, G, B)");
    }
    return result;
}

inline std::vector<std::string> parse_labels(const Fields& id2label) {
    const std::size_t count = id2label.raw().fields.size();
    std::vector<const Value*> found(count, nullptr);
    bool good = count > 0 && count <= max_classes;
    for (std::size_t at = 0; good && at < count; ++at) {
        const std::string& key = id2label.raw().fields[at].first;
        good = !key.empty() && key.size() <= 6 && key.find_first_not_of("0123456789") == std::string::npos;
        const std::size_t id = good ? std::stoul(key) : count;
        good = good && id < count && key == std::to_string(id);
        if (good) found[id] = &id2label.raw().fields[at].second;
    }
    if (!good) {
        Fields::fail("id2label must have the keys 0, 1, 2, ... without a gap, up to " + std::to_string(max_classes) +
                     " of them");
    }
    std::vector<std::string> labels;
    labels.reserve(count);
    for (std::size_t id = 0; id < count; ++id) {
        const Value& label = *found[id];
        std::size_t length = 0;
        for (const char byte : label.text) length += (static_cast<unsigned char>(byte) & 0xC0U) != 0x80U;
        if (label.kind != Value::Kind::text || length > 1000) {
            Fields::fail("id2label." + std::to_string(id) + " must be text of 0 to 1000 characters");
        }
        labels.push_back(label.text);
    }
    return labels;
}

/// Refuses a path in config.json that leads outside the folder, or is not a plain name on every system.
inline void require_plain_path(const std::string& path) {
    bool good = !path.empty() && path.size() <= 255 && path.find_first_of("\\:*?\"<>|") == std::string::npos;
    std::size_t start = 0;
    while (good && start <= path.size()) {
        const std::size_t end = std::min(path.find('/', start), path.size());
        const std::string part = path.substr(start, end - start);
        good = !part.empty() && part.back() != '.' && part.back() != ' ';  // which includes . and ..
        start = end + 1;
    }
    if (!good || escaped(path) != path) {
        throw ArtifactError("the file name '" + escaped(path.substr(0, 80)) +
                            "' in config.json leads outside the artifact's folder or is not a plain name");
    }
}

inline std::optional<ModelFile> parse_model_file(const Fields& files, const std::string& precision) {
    if (files.raw().fields.size() > 256) Fields::fail("files must list up to 256 files");
    std::optional<ModelFile> result;
    for (const auto& [path, entry] : files.raw().fields) {
        require_plain_path(path);
        const Fields values(entry, files.named(path));
        const ModelFile file{path, values.text("sha256"), values.whole("bytes", 0, max_file_bytes)};
        if (file.sha256.size() != 64 || file.sha256.find_first_not_of("0123456789abcdef") != std::string::npos) {
            Fields::fail(path + ": sha256 must be 64 lower-case hexadecimal digits");
        }
        const Value* stated = entry.find("precision");
        if (stated == nullptr || stated->kind == Value::Kind::null) continue;
        if (stated->kind != Value::Kind::text) Fields::fail(path + ": precision must be a word like fp32, or null");
        if (path.size() < 6 || path.compare(path.size() - 5, 5, ".onnx") != 0) {
            Fields::fail(path + ": a file with a precision must be an ONNX file, named *.onnx");
        }
        if (stated->text != precision) continue;
        if (result) Fields::fail("files must list one ONNX file per precision, got " + precision + " twice");
        result = file;
    }
    return result;
}

inline Artifact parse_config(const std::string& folder, const Value& document) {
    const Fields config(document, "");
    config.whole("schema_version", 1, schema_version);
    Artifact result;
    result.folder = folder;
    result.name = config.text("name", 1);
    config.text("model_type");
    config.object("architecture");
    result.preprocess = parse_preprocess(config.object("preprocess"));
    result.image_size = static_cast<int>(config.whole("image_size", 1, max_image_size));
    if (result.image_size != result.preprocess.crop_size) {
        Fields::fail("image_size must equal crop_size " + std::to_string(result.preprocess.crop_size) + ", got " +
                     std::to_string(result.image_size));
    }
    result.labels = parse_labels(config.object("id2label"));
    const auto classes = static_cast<std::int64_t>(result.labels.size());
    if (document.find("num_classes") != nullptr) config.whole("num_classes", classes, classes);
    const std::optional<ModelFile> model = parse_model_file(config.object("files"), "fp32");
    if (!model) throw InputError(result.name + " has no 'fp32' model; this program runs no other precision");
    result.model = *model;
    return result;
}

}  // namespace detail

/// Parses the bytes of a config.json; `folder` is for messages and for finding the model.
/// Throws ArtifactError if it is malformed, unsafe or of a newer schema.
inline Artifact parse_artifact(const std::string& folder, std::string_view bytes) {
    const std::string path = folder + "/config.json";
    json::Value document;
    try {
        document = json::parse(bytes);
    } catch (const std::invalid_argument& error) {
        throw ArtifactError(path + " cannot be read: " + error.what() + "; export or download the model again");
    }
    const json::Value* version =
        document.kind == json::Value::Kind::object ? document.find("schema_version") : nullptr;
    if (version == nullptr) {
        throw ArtifactError(path + " is not an onnxzoo artifact: it has no schema_version; another tool wrote it");
    }
    if (version->whole && version->integer > schema_version) {
        throw ArtifactError(path + " has schema version " + std::to_string(version->integer) + ", this program reads up to " +
                            std::to_string(schema_version) + "; use a newer one");
    }
    try {
        return detail::parse_config(folder, document);
    } catch (const std::invalid_argument& error) {
        throw ArtifactError(path + " is malformed: " + error.what());
    }
}

/// Reads and checks the config.json of an artifact folder.
/// Throws ModelNotFoundError if there is no such folder, ArtifactError as `parse_artifact` does.
inline Artifact read_artifact(const std::string& folder) {
    std::error_code failure;
    if (!std::filesystem::is_directory(folder, failure)) {
        throw ModelNotFoundError("there is no folder " + folder + "; give an artifact's folder, such as 'onnxzoo export' writes");
    }
    const FileBytes file = read_file(folder + "/config.json", max_config_bytes);
    switch (file.outcome) {
        case ReadOutcome::done: break;
        case ReadOutcome::missing:
        case ReadOutcome::folder: throw ArtifactError(folder + " is not an artifact: it has no config.json");
        case ReadOutcome::too_large:
            throw ArtifactError(folder + "/config.json has more than " + std::to_string(max_config_bytes) + " bytes");
        case ReadOutcome::unreadable:
            throw ArtifactError(folder + "/config.json cannot be read: " + file.reason + "; check its permissions");
    }
    return parse_artifact(folder, {reinterpret_cast<const char*>(file.bytes.data()), file.bytes.size()});
}

/// The bytes of the artifact's model, which match the size and the SHA-256 in config.json.
/// An engine is given these bytes, not the path: what was checked is what runs, and it cannot refer to other files.
/// Throws ArtifactError naming the file.
inline std::vector<std::uint8_t> read_model(const Artifact& artifact) {
    const std::filesystem::path folder(artifact.folder);
    const std::filesystem::path path = folder / artifact.model.path;
    const std::string shown = path.string(), remedy = "; export or download the model again";
    FileBytes file = read_file(shown, static_cast<std::size_t>(artifact.model.bytes) + 1);
    if (file.outcome == ReadOutcome::missing || file.outcome == ReadOutcome::folder) {
        throw ArtifactError(shown + " is missing, though config.json lists it" + remedy);
    }
    if (file.outcome == ReadOutcome::unreadable) {
        throw ArtifactError(shown + " cannot be read: " + file.reason + "; check its permissions");
    }
    if (file.outcome == ReadOutcome::too_large || file.bytes.size() != static_cast<std::size_t>(artifact.model.bytes)) {
        const std::string got = file.outcome == ReadOutcome::too_large ? "more" : std::to_string(file.bytes.size());
        throw ArtifactError(shown + " has " + got + " bytes, expected " + std::to_string(artifact.model.bytes) + remedy);
    }
    const std::string digest = sha256_of(file.bytes.data(), file.bytes.size());
    if (digest != artifact.model.sha256) {
        throw ArtifactError(shown + " was altered: its sha256 is " + digest + ", expected " + artifact.model.sha256 + remedy);
    }
    return std::move(file.bytes);
}

}  // namespace onnxzoo
