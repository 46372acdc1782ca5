// Weights and rows of random numbers, multiplied by the engine itself and by us.
//
// Of each type its rows as numbers, and products with 1, 3 and 17 rows, of one matrix and of experts: each once with
// the weights in the engine's own buffer and once in ours. All of it is one graph on one thread: threads that wait for
// each other while the engine starts beside them would take longer than these products. How threads share a product
// is the same for all types but those of 16 bits, so one of either sort is computed on two threads as well.
#include "selftest.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <random>

namespace inhouse {
namespace {

constexpr int64_t K = 512, COLUMNS = 40, EXPERTS = 3, USED = 2, COUNTS[] = {1, 3, 17};
constexpr int64_t MADE = 8;  // rows that the engine quantises; their blocks are what all weights are made of
constexpr size_t ROOM = size_t{32} << 20;  // of which only what is used is there

struct Case {
    size_t kind;
    Tensor *theirs, *ours;
    bool rows;
};

class Trial {
  public:
    Trial(const Engine &engine, const std::vector<const Kind *> &kinds, const std::vector<bool> &known)
        : engine_(engine), kinds_(kinds), known_(known), context_(engine.init({ROOM, nullptr, false})), made_(K * MADE) {
        std::normal_distribution<float> normal;
        for (float &w : made_) w = normal(dice_);
        tokens_ = engine_.new_tensor_2d(context_, I32, COLUMNS, 1);
        for (int i = 0; i < COLUMNS; i++) static_cast<int32_t *>(tokens_->data)[i] = (i * 7 + 3) % COLUMNS;
        for (size_t c = 0; c < std::size(COUNTS); c++) {
            rows_[c] = engine_.new_tensor_2d(context_, F32, K, COUNTS[c]);
            rows_of_each_[c] = engine_.new_tensor_3d(context_, F32, K, 1, COUNTS[c]);
            chosen_[c] = engine_.new_tensor_2d(context_, I32, USED, COUNTS[c]);
            for (int64_t i = 0; i < K * COUNTS[c]; i++) numbers(rows_[c])[i] = numbers(rows_of_each_[c])[i] = normal(dice_);
            for (int64_t i = 0; i < USED * COUNTS[c]; i++)
                static_cast<int32_t *>(chosen_[c]->data)[i] = static_cast<int32_t>((dice_() % (EXPERTS - 1) + i % USED) % EXPERTS);
        }
    }

    std::vector<Case> computed(BufferType *ours) {
        std::vector<Case> made;
        for (size_t i = 0; i < kinds_.size(); i++) {
            if (!known_[i]) continue;
            const auto theirs = results(i, engine_.backend_cpu_buffer_type()), own = results(i, ours);
            for (size_t j = 0; j < own.size(); j++) made.push_back({i, theirs[j], own[j], j == 0});
        }
        void *graph = engine_.new_graph(context_);
        for (const Case &one : made)
            for (Tensor *result : {one.theirs, one.ours}) engine_.build_forward_expand(graph, result);
        engine_.graph_compute_with_ctx(context_, graph, 1);

        void *shared = engine_.new_graph(context_);
        const std::vector<Case> alone = made;
        for (const bool plain : {false, true}) {
            const auto first = std::find_if(alone.begin(), alone.end(), [&](const Case &one) { return kinds_[one.kind]->form.plain == plain; });
            if (first == alone.end()) continue;
            const auto again = results(first->kind, ours);
            for (size_t j = 0; j < again.size(); j++) {
                engine_.build_forward_expand(shared, again[j]);
                made.push_back({first->kind, first[static_cast<std::ptrdiff_t>(j)].theirs, again[j], j == 0});
            }
        }
        engine_.graph_compute_with_ctx(context_, shared, 2);
        return made;
    }

  private:
    static float *numbers(Tensor *t) { return static_cast<float *>(t->data); }

    // As the file would have them: each row other blocks, each expert's rows turned by one.
    std::vector<uint8_t> file(const Kind &kind) const {
        const size_t row = engine_.row_size(kind.type, K), blocks = static_cast<size_t>(K / kind.form.block()), all = blocks * MADE;
        std::vector<uint8_t> from(row * MADE), to(row * COLUMNS * EXPERTS);
        engine_.quantize_chunk(kind.type, made_.data(), from.data(), 0, MADE, K, nullptr);
        for (size_t c = 0; c < COLUMNS; c++)
            for (size_t b = 0; b < blocks; b++)
                std::memcpy(&to[c * row + b * kind.file_block], &from[(c + b * (1 + c / all)) % all * kind.file_block], kind.file_block);
        for (size_t i = row * COLUMNS; i < to.size(); i++) to[i] = to[i - row * (COLUMNS - 1)];
        return to;
    }

    // What operations with weights that are kept in a buffer of `type` give; first their rows.
    std::vector<Tensor *> results(size_t number, BufferType *type) {
        const Kind &kind = *kinds_[number];
        void *kept = engine_.init({4 * engine_.tensor_overhead(), nullptr, true});
        Tensor *weights = engine_.new_tensor_2d(kept, kind.type, K, COLUMNS), *experts = engine_.new_tensor_3d(kept, kind.type, K, COLUMNS, EXPERTS);
        engine_.backend_alloc_ctx_tensors_from_buft(kept, type);
        const std::vector<uint8_t> bytes = file(kind);
        for (Tensor *one : {weights, experts}) engine_.backend_tensor_set(one, bytes.data(), 0, engine_.nbytes(one));
        std::vector<Tensor *> made{engine_.get_rows(context_, weights, tokens_)};
        for (size_t c = 0; c < std::size(COUNTS); c++) {
            made.push_back(engine_.mul_mat(context_, weights, rows_[c]));
            made.push_back(engine_.mul_mat_id(context_, experts, rows_of_each_[c], chosen_[c]));
        }
        return made;
    }

    const Engine &engine_;
    const std::vector<const Kind *> &kinds_;
    const std::vector<bool> &known_;
    void *context_;
    std::mt19937 dice_;
    std::vector<float> made_;
    Tensor *tokens_, *rows_[std::size(COUNTS)], *rows_of_each_[std::size(COUNTS)], *chosen_[std::size(COUNTS)];
};

std::string lower(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(), ::tolower);
    return text;
}

// What the engine calls a type that is another one there; "" where it is the same.
std::string other_name(const Engine &engine, const Kind &kind) {
    const char *name = engine.type_name(kind.type);
    const std::string known = lower(name ? name : "");
    return known == lower(kind.name) ? "" : "the engine knows this type as '" + known + "'";
}

std::string difference(const Kind &kind, const Case &one) {
    const auto *theirs = static_cast<const float *>(one.theirs->data), *ours = static_cast<const float *>(one.ours->data);
    const int64_t count = one.ours->ne[0] * one.ours->ne[1] * one.ours->ne[2] * one.ours->ne[3];
    double error = 0, size = 0;
    for (int64_t i = 0; i < count; i++) {
        if (one.rows && !(std::abs(theirs[i] - ours[i]) <= 1e-6 * std::abs(theirs[i]) + 1e-6)) return "its rows differ from the engine's";
        error += std::pow(static_cast<double>(ours[i]) - theirs[i], 2);
        size += std::pow(static_cast<double>(theirs[i]), 2);
    }
    // Both round rows to 8 bits: about 5e-5. For 16-bit weights one of us may round them to BF16: 4e-6.
    const bool same = size > 0 && error <= (kind.form.plain ? 1e-5 : 3e-4) * size;
    return same ? "" : "its results differ from the engine's";
}

}  // namespace

std::vector<std::string> self_test(const Engine &engine, BufferType *ours, const std::vector<const Kind *> &kinds) {
    std::vector<std::string> wrong;
    std::vector<bool> known;
    for (const Kind *kind : kinds) {
        wrong.push_back(other_name(engine, *kind));
        known.push_back(wrong.back().empty());
    }
    Trial trial(engine, kinds, known);
    for (const Case &one : trial.computed(ours))
        if (wrong[one.kind].empty()) wrong[one.kind] = difference(*kinds[one.kind], one);
    return wrong;
}

}  // namespace inhouse
