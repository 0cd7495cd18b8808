// Logits to the best classes.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <string>
#include <vector>

namespace onnxzoo {

/// One class of a prediction; `score` is its softmax probability.
struct ClassScore {
    std::size_t class_id = 0;
    std::string label;
    double score = 0.0;
};

/// The best classes of finite logits by softmax in float64; equal logits in the order of class ids.
inline std::vector<ClassScore> top_classes(const std::vector<float>& logits, const std::vector<std::string>& labels,
                                           std::size_t top_k) {
    if (logits.empty()) return {};
    const double highest = *std::max_element(logits.begin(), logits.end());
    double total = 0.0;
    for (const float logit : logits) total += std::exp(logit - highest);
    std::vector<std::size_t> order(logits.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return logits[a] > logits[b]; });
    order.resize(std::min(top_k, order.size()));
    std::vector<ClassScore> result;
    result.reserve(order.size());
    for (const std::size_t id : order) result.push_back({id, labels.at(id), std::exp(logits[id] - highest) / total});
    return result;
}

}  // namespace onnxzoo
