// ONNX Runtime on the CPU, by its C API, which is the same in all versions since the header's.
#pragma once

#include <onnxruntime_c_api.h>

#include <cstdint>
#include <string>
#include <vector>

#include "engine.hpp"

namespace onnxzoo {

class OnnxRuntimeEngine : public Engine {
public:
    /// Opens a model whose bytes were checked (`read_model`). `threads`: 0 lets ONNX Runtime decide.
    /// Throws as OpenVinoEngine does.
    OnnxRuntimeEngine(const Artifact& artifact, const std::vector<std::uint8_t>& model, int threads) : Engine(artifact) {
        const OrtApiBase* base = OrtGetApiBase();
        version_ = base->GetVersionString();
        api_ = base->GetApi(ORT_API_VERSION);
        if (api_ == nullptr) {
            throw EngineUnavailableError("ONNX Runtime " + version_ + " is older than the headers that this was built with (API " +
                                         std::to_string(ORT_API_VERSION) + "); install a newer one");
        }
        try {
            open(model, threads);
        } catch (...) {
            close();
            throw;
        }
    }
    OnnxRuntimeEngine(const OnnxRuntimeEngine&) = delete;
    OnnxRuntimeEngine& operator=(const OnnxRuntimeEngine&) = delete;
    ~OnnxRuntimeEngine() override { close(); }

    std::string name() const override { return "onnxruntime"; }
    std::string version() const override { return version_; }

protected:
    std::vector<float> run(const std::vector<float>& image) override {
        const std::int64_t shape[4] = {1, 3, image_size_, image_size_};
        std::vector<float> input = image;
        OrtValue *value = nullptr, *output = nullptr;
        std::vector<float> result;
        try {
            require(api_->CreateTensorWithDataAsOrtValue(memory_, input.data(), input.size() * sizeof(float), shape, 4,
                                                         ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &value),
                    "cannot run");
            require(api_->Run(session_, nullptr, &input_name, &value, 1, &output_name, 1, &output), "cannot run");
            const auto classes = static_cast<std::int64_t>(classes_);
            require_shape(output_name, shape_of(output), {1, classes});
            float* data = nullptr;
            require(api_->GetTensorMutableData(output, reinterpret_cast<void**>(&data)), "cannot run");
            result.assign(data, data + classes);
        } catch (...) {
            release(value, output);
            throw;
        }
        release(value, output);
        return result;
    }

private:
    const OrtApi* api_ = nullptr;
    OrtEnv* environment_ = nullptr;
    OrtSessionOptions* options_ = nullptr;
    OrtSession* session_ = nullptr;
    OrtMemoryInfo* memory_ = nullptr;
    std::string version_;

    void require(OrtStatus* status, const std::string& failure) const {
        if (status == nullptr) return;
        const std::string reason = one_line(api_->GetErrorMessage(status));
        api_->ReleaseStatus(status);
        throw EngineError("onnxruntime " + failure + " " + model_ + ": " + reason);
    }

    void release(OrtValue* input, OrtValue* output) const {
        if (input != nullptr) api_->ReleaseValue(input);
        if (output != nullptr) api_->ReleaseValue(output);
    }

    void close() {
        if (memory_ != nullptr) api_->ReleaseMemoryInfo(memory_);
        if (session_ != nullptr) api_->ReleaseSession(session_);
        if (options_ != nullptr) api_->ReleaseSessionOptions(options_);
        if (environment_ != nullptr) api_->ReleaseEnv(environment_);
    }

    void open(const std::vector<std::uint8_t>& model, int threads) {
        const std::string failure = "cannot open";
        require(api_->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "onnxzoo", &environment_), failure);
        require(api_->DisableTelemetryEvents(environment_), failure);
        require(api_->CreateSessionOptions(&options_), failure);
        if (threads > 0) require(api_->SetIntraOpNumThreads(options_, threads), failure);
        require(api_->CreateSessionFromArray(environment_, model.data(), model.size(), options_, &session_), failure);
        require(api_->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory_), failure);
        std::size_t inputs = 0;
        require(api_->SessionGetInputCount(session_, &inputs), failure);
        if (inputs != 1 || !has(input_name, true)) refuse_missing("only input 'pixel_values'");
        if (!has(output_name, false)) refuse_missing("output 'logits'");
    }

    /// Whether the session has an input (or output) of this name; its type and shape must then be the artifact's.
    bool has(const std::string& wanted, bool is_input) const {
        OrtAllocator* allocator = nullptr;
        require(api_->GetAllocatorWithDefaultOptions(&allocator), "cannot open");
        std::size_t count = 0;
        require(is_input ? api_->SessionGetInputCount(session_, &count) : api_->SessionGetOutputCount(session_, &count),
                "cannot open");
        for (std::size_t at = 0; at < count; ++at) {
            char* name = nullptr;
            require(is_input ? api_->SessionGetInputName(session_, at, allocator, &name)
                             : api_->SessionGetOutputName(session_, at, allocator, &name),
                    "cannot open");
            const bool found = wanted == name;
            require(api_->AllocatorFree(allocator, name), "cannot open");
            if (!found) continue;
            OrtTypeInfo* type = nullptr;
            require(is_input ? api_->SessionGetInputTypeInfo(session_, at, &type)
                             : api_->SessionGetOutputTypeInfo(session_, at, &type),
                    "cannot open");
            const OrtTensorTypeAndShapeInfo* tensor = nullptr;
            OrtStatus* status = api_->CastTypeInfoToTensorInfo(type, &tensor);
            Shape got;
            try {
                require(status, "cannot open");
                if (tensor != nullptr) got = shape_of(tensor);
            } catch (...) {
                api_->ReleaseTypeInfo(type);
                throw;
            }
            api_->ReleaseTypeInfo(type);
            const auto classes = static_cast<std::int64_t>(classes_);
            require_shape(wanted, got, is_input ? Shape{-1, 3, image_size_, image_size_} : Shape{-1, classes});
            return true;
        }
        return false;
    }

    /// Throws unless the elements are float32.
    Shape shape_of(const OrtTensorTypeAndShapeInfo* tensor) const {
        ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
        require(api_->GetTensorElementType(tensor, &type), "cannot read");
        if (type != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) refuse_missing("float32 input and output");
        std::size_t rank = 0;
        require(api_->GetDimensionsCount(tensor, &rank), "cannot read");
        Shape shape(rank);
        require(api_->GetDimensions(tensor, shape.data(), rank), "cannot read");
        return shape;
    }

    Shape shape_of(const OrtValue* value) const {
        OrtTensorTypeAndShapeInfo* tensor = nullptr;
        require(api_->GetTensorTypeAndShape(value, &tensor), "cannot read");
        try {
            const Shape shape = shape_of(tensor);
            api_->ReleaseTensorTypeAndShapeInfo(tensor);
            return shape;
        } catch (...) {
            api_->ReleaseTensorTypeAndShapeInfo(tensor);
            throw;
        }
    }
};

}  // namespace onnxzoo
