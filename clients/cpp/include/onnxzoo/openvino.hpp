// OpenVINO on the CPU, in fp32.
#pragma once

#include <openvino/openvino.hpp>

#include <algorithm>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "engine.hpp"

namespace onnxzoo {

class OpenVinoEngine : public Engine {
public:
    /// Compiles a model whose bytes were checked (`read_model`). `threads`: 0 lets OpenVINO decide.
    /// Throws ArtifactError for a model whose input or output is not the artifact's, EngineError if OpenVINO rejects it,
    /// EngineUnavailableError if it would not compute in fp32.
    OpenVinoEngine(const Artifact& artifact, const std::vector<std::uint8_t>& model, int threads) : Engine(artifact) {
        guarded("cannot compile", [&] {
            const std::string bytes(model.begin(), model.end());
            const std::shared_ptr<ov::Model> graph = core_.read_model(bytes, ov::Tensor());
            check(*graph);
            const ov::Dimension side(image_size_);
            graph->reshape({{input_name, ov::PartialShape{1, 3, side, side}}});
            // The default on processors with AMX or AVX512-BF16 is bf16, whose results differ.
            ov::AnyMap settings{ov::hint::inference_precision(ov::element::f32),
                                ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY)};
            if (threads > 0) settings.insert(ov::inference_num_threads(threads));
            compiled_ = core_.compile_model(graph, "CPU", settings);
            request_ = compiled_.create_infer_request();
        });
        if (compiled_.get_property(ov::hint::inference_precision) != ov::element::f32) {
            throw EngineUnavailableError("OpenVINO does not compute in fp32 here; use another version of it");
        }
    }

    std::string name() const override { return "openvino"; }
    std::string version() const override {
        const std::string build = ov::get_openvino_version().buildNumber;
        return build.substr(0, build.find('-'));
    }

protected:
    std::vector<float> run(const std::vector<float>& image) override {
        std::vector<float> result;
        guarded("cannot run", [&] {
            ov::Tensor input = request_.get_tensor(input_name);
            std::copy(image.begin(), image.end(), input.data<float>());
            request_.infer();
            const ov::Tensor output = request_.get_tensor(output_name);
            result.assign(output.data<const float>(), output.data<const float>() + output.get_size());
        });
        return result;
    }

private:
    ov::Core core_;
    ov::CompiledModel compiled_;
    ov::InferRequest request_;

    template <typename Action>
    void guarded(const std::string& failure, Action action) const {
        try {
            action();
        } catch (const Error&) {
            throw;
        } catch (const std::exception& error) {
            throw EngineError("openvino " + failure + " " + model_ + ": " + one_line(error.what()));
        }
    }

    static Shape shape_of(const ov::PartialShape& partial) {
        Shape shape;
        if (partial.rank().is_dynamic()) return shape;
        for (const ov::Dimension& size : partial) shape.push_back(size.is_dynamic() ? -1 : size.get_length());
        return shape;
    }

    template <typename Ports>
    static auto named(const Ports& ports, const std::string& name) {
        return std::find_if(ports.begin(), ports.end(), [&](const auto& port) { return port.get_names().count(name) > 0; });
    }

    void check(const ov::Model& graph) const {
        const auto inputs = graph.inputs();
        const auto outputs = graph.outputs();
        const auto input = named(inputs, input_name);
        const auto output = named(outputs, output_name);
        if (inputs.size() != 1 || input == inputs.end()) refuse_missing("only input 'pixel_values'");
        if (output == outputs.end()) refuse_missing("output 'logits'");
        if (input->get_element_type() != ov::element::f32 || output->get_element_type() != ov::element::f32) {
            refuse_missing("float32 input and output");
        }
        require_shape("pixel_values", shape_of(input->get_partial_shape()), {-1, 3, image_size_, image_size_});
        require_shape("logits", shape_of(output->get_partial_shape()), {-1, static_cast<std::int64_t>(classes_)});
    }
};

}  // namespace onnxzoo
