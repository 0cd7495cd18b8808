// For the tests: preprocesses images without an engine.
//
//     zoo-pixels ARTIFACT IMAGE...    for each image one line on standard output: the tensor as hexadecimal bytes of
//                                     float32 in this machine's order, or "error: " and the message
//
// Exit codes are those of zoo-predict.
#include <onnxzoo/artifact.hpp>
#include <onnxzoo/decode.hpp>
#include <onnxzoo/preprocess.hpp>

#include <cstdio>
#include <iostream>
#include <string>

int main(int count, char** arguments) {
    if (count < 2) return static_cast<int>(onnxzoo::ExitCode::usage);
    int code = 0;
    try {
        const onnxzoo::Artifact artifact = onnxzoo::read_artifact(arguments[1]);
        onnxzoo::read_model(artifact);
        for (int at = 2; at < count; ++at) {
            std::string line;
            try {
                const onnxzoo::RgbImage image = onnxzoo::decode_file(arguments[at]);
                const auto values = onnxzoo::preprocess(image, artifact.preprocess, arguments[at]);
                const auto* bytes = reinterpret_cast<const unsigned char*>(values.data());
                for (std::size_t place = 0; place < values.size() * sizeof(float); ++place) {
                    line += "0123456789abcdef"[bytes[place] >> 4U];
                    line += "0123456789abcdef"[bytes[place] & 15U];
                }
            } catch (const onnxzoo::ImageError& error) {
                line = std::string("error: ") + onnxzoo::one_line(error.what());
                code = static_cast<int>(error.code());
            }
            std::cout << line << "\n";
        }
    } catch (const onnxzoo::Error& error) {
        std::cerr << "zoo-pixels: error: " << onnxzoo::one_line(error.what()) << "\n";
        return static_cast<int>(error.code());
    }
    return code;
}
