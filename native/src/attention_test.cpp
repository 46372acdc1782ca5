// Whether our attention may be used in the running engine: its operation is looked at, and its results compared.
#include "attention.h"

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

namespace inhouse {
namespace {

constexpr int64_t SIZE = 64, HEADS = 6, KEY_HEADS = 2, LENGTH = 600, PADDED = 128;
constexpr size_t MEMORY = size_t{8} << 20;

struct Trial {
    std::vector<float> q, k, v;

    Trial() : q(SIZE * HEADS * PADDED), k(SIZE * KEY_HEADS * LENGTH), v(k.size()) {
        std::mt19937 dice(7);
        std::normal_distribution<float> normal;
        for (auto *all : {&q, &k, &v})
            for (float &x : *all) x = normal(dice);
    }

    std::vector<float> computed(const Engine &engine, int type, int64_t tokens, bool masked) const {
        void *context = engine.init({MEMORY + engine.graph_overhead(), nullptr, false});
        Tensor *queries = engine.new_tensor_3d(context, F32, SIZE, tokens, HEADS), *mask = nullptr;
        std::memcpy(queries->data, q.data(), engine.nbytes(queries));
        Tensor *cached[2];
        for (int i = 0; i < 2; i++) {
            cached[i] = engine.new_tensor_3d(context, type, SIZE, LENGTH, KEY_HEADS);
            engine.quantize_chunk(type, (i ? v : k).data(), cached[i]->data, 0, LENGTH * KEY_HEADS, SIZE, nullptr);
        }
        if (masked) {  // the last tokens of a text; older engines want rows filled up to 64
            mask = engine.new_tensor_2d(context, F16, LENGTH, PADDED);
            auto *halves = static_cast<uint16_t *>(mask->data);
            for (int64_t i = 0; i < LENGTH * PADDED; i++) halves[i] = i % LENGTH > LENGTH - tokens + i / LENGTH ? 0xfc00 : 0;
        }
        Tensor *result = engine.flash_attn_ext(context, queries, cached[0], cached[1], mask, 0.125f, 0, 0);
        void *graph = engine.new_graph(context);
        engine.build_forward_expand(graph, result);
        engine.graph_compute_with_ctx(context, graph, tokens == 1 ? 2 : 1);  // beside the engine's start threads wait long
        const auto *values = static_cast<const float *>(result->data);
        std::vector<float> found(values, values + SIZE * HEADS * tokens);
        engine.free(context);
        return found;
    }
};

}  // namespace

std::string find_attention(const Engine &engine) {
    if (!engine.flash_attn_ext) return "the engine has no ggml_flash_attn_ext";
    void *context = engine.init({MEMORY, nullptr, false});
    Tensor *q = engine.new_tensor_3d(context, F32, SIZE, 3, HEADS), *mask = engine.new_tensor_2d(context, F16, 32, 64);
    Tensor *k = engine.new_tensor_3d(context, F16, SIZE, 32, KEY_HEADS), *v = engine.new_tensor_3d(context, F16, 32, 32, KEY_HEADS);
    const Tensor *op = engine.flash_attn_ext(context, q, k, v, mask, 0.5f, 2.0f, 4.0f);
    const float wanted[3] = {0.5f, 2.0f, 4.0f};
    const bool good = op && op->src[0] == q && op->src[1] == k && op->src[2] == v && op->src[3] == mask && !op->src[4] && op->type == F32 &&
                      op->ne[0] == 32 && op->ne[1] == HEADS && op->ne[2] == 3 && std::memcmp(op->op_params, wanted, sizeof wanted) == 0;
    if (good) OP_FLASH_ATTENTION = op->op;
    engine.free(context);
    return good ? "" : "the engine's attention is not as we know it";
}

std::string test_attention(const Engine &engine, const std::function<void(bool)> &use) {
    const Trial trial;
    for (const int type : {F16, Q8_0})
        for (const int64_t tokens : {int64_t{1}, int64_t{3}, int64_t{70}}) {
            const bool masked = tokens > 1;
            use(false);
            const auto theirs = trial.computed(engine, type, tokens, masked);
            use(true);
            const auto found = trial.computed(engine, type, tokens, masked);
            double error = 0, size = 0;
            for (size_t i = 0; i < found.size(); i++) {
                error += std::pow(static_cast<double>(found[i]) - theirs[i], 2);
                size += std::pow(static_cast<double>(theirs[i]), 2);
            }
            // The engine sums values as halves and rounds queries as its keys are: 1e-6 with F16, 1e-5 with Q8_0.
            if (!(size > 0 && error <= (type == F16 ? 1e-4 : 1e-3) * size)) return "its results differ from the engine's";
        }
    return "";
}

}  // namespace inhouse
