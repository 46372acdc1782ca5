// How one product is divided: among threads by groups of panels, in the cache by rows and by K.
//
// Rows of activations are quantised once, by all threads together, into the work buffer; of few rows each
// thread makes its own copy, which is quicker than to wait for the others. A thread then takes groups of
// panels from a common counter (on a shared machine threads are not equally fast). A block of rows stays in
// the L2 cache while the panels of a group pass over it, and a piece of a panel in the L1 while the rows do.
#include "product.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace inhouse {

int OP_MUL_MAT = -1, OP_MUL_MAT_ID = -1, OP_GET_ROWS = -1;

namespace {

constexpr int64_t FEW_ROWS = 4;        // each thread quantises these by itself
constexpr int64_t ROW_BLOCK = 96;      // a multiple of most tiles' heights
constexpr int64_t K_BLOCK = 2048;      // 96 x 2048 bytes of rows: a part of the L2
constexpr int64_t K_PLAIN = 256;       // 16 KiB of a panel of 16-bit numbers: half the L1
constexpr int64_t SHARED_BYTES = 1 << 20;  // of weights: more is taken in groups, however few rows
constexpr int64_t GROUP_BYTES = 256 * 1024;

const char *row_at(const Tensor *t, int64_t i) {  // the i-th row of a tensor of any dimensions
    const int64_t a = i % t->ne[1], b = i / t->ne[1] % t->ne[2], c = i / (t->ne[1] * t->ne[2]);
    return static_cast<const char *>(t->data) + a * t->nb[1] + b * t->nb[2] + c * t->nb[3];
}

int64_t rows_of(const Tensor *t) { return t->ne[1] * t->ne[2] * t->ne[3]; }

}  // namespace

int64_t panels_of(int64_t columns) { return (columns + PANEL - 1) / PANEL; }

size_t Packed::size_of(const Tensor *weights) const {
    return static_cast<size_t>(panels_of(weights->ne[1]) * weights->ne[2] * weights->ne[3]) * kind_.form.panel(weights->ne[0]);
}

bool Packed::work_size(int threads, const Tensor *op, size_t &size) {
    if (op->op == OP_GET_ROWS) return true;
    const RowForm form = kernels_.rows(kind_.form, op->src[0]->ne[0]);
    if (op->op == OP_MUL_MAT) {
        const int64_t rows = rows_of(op->src[1]);
        size = (rows <= FEW_ROWS ? threads * rows : rows) * form.size() + 64;
    } else {
        size = op->src[2]->ne[0] * op->src[2]->ne[1] * (form.size() + 2 * sizeof(int64_t)) + 128 +
               (op->src[0]->ne[2] + 1) * sizeof(int64_t);
    }
    return true;
}

bool Packed::compute_forward(Work *work, Tensor *op) {
    if (op->op == OP_MUL_MAT) {
        multiply(*work, op);
    } else if (op->op == OP_MUL_MAT_ID) {
        multiply_by_expert(*work, op);
    } else if (op->op == OP_GET_ROWS) {
        look_up(*work, op);
    } else {
        return false;
    }
    return true;
}

// `count` rows by one panel: all at once where that can be, or in tiles of nearly equal height.
void Packed::span(const uint8_t *panel, const int8_t *rows, size_t stride, const RowForm &form, int64_t count, float *out,
                  size_t out_stride, int columns, int64_t from, int64_t to) const {
    if (tiles_.tall && count > tiles_.most) return tiles_.tall(panel, rows, stride, form, from, to, out, out_stride, columns, count);
    for (int64_t done = 0, left = (count + tiles_.most - 1) / tiles_.most; left > 0; left--) {
        const int64_t height = (count - done + left - 1) / left;
        tiles_.of(height)(panel, rows + done * stride, stride, form, from, to, out + done * out_stride, out_stride, columns);
        done += height;
    }
}

void Packed::multiply(const Work &work, Tensor *op) const {
    const Tensor *weights = op->src[0], *x = op->src[1];
    const int64_t k = weights->ne[0], columns = weights->ne[1], rows = rows_of(x), panels = panels_of(columns);
    const RowForm form = kernels_.rows(kind_.form, k);
    const size_t stride = form.size(), panel_size = kind_.form.panel(k);
    auto *codes = reinterpret_cast<int8_t *>((reinterpret_cast<uintptr_t>(work.data) + 63) & ~uintptr_t{63});
    const bool few = rows <= FEW_ROWS;
    if (few) codes += work.ith * rows * stride;
    for (int64_t i = few ? 0 : work.ith; i < rows; i += few ? 1 : work.nth)
        kernels_.quantise(form, reinterpret_cast<const float *>(row_at(x, i)), codes + i * stride);

    const auto *packed = static_cast<const uint8_t *>(weights->data);
    auto *out = static_cast<float *>(op->data);
    const int64_t fits = std::max<int64_t>(1, GROUP_BYTES / static_cast<int64_t>(panel_size));
    const int64_t shares = (panels + work.nth * 8 - 1) / (work.nth * 8);
    // A matrix that is read within microseconds is not worth a second meeting of the threads.
    const bool shared = !few || panels * static_cast<int64_t>(panel_size) > SHARED_BYTES;
    const int64_t group = shared ? std::min(fits, shares) : (panels + work.nth - 1) / work.nth, groups = (panels + group - 1) / group;
    if (shared) {
        if (work.ith == 0) engine_.threadpool_chunk_set(work.pool, work.nth);
        engine_.barrier(work.pool);
    }
    for (int64_t g = work.ith; g < groups; g = shared ? engine_.threadpool_chunk_add(work.pool, 1) : groups) {
        const int64_t last = std::min(panels, (g + 1) * group);
        for (int64_t r = 0; r < rows; r += ROW_BLOCK) {
            const int64_t height = std::min(ROW_BLOCK, rows - r), step = height <= tiles_.most ? k : kind_.form.plain ? K_PLAIN : K_BLOCK;
            for (int64_t p = g * group; p < last; p++)
                for (int64_t from = 0; from < k; from += step)
                    span(packed + p * panel_size, codes + r * stride, stride, form, height, out + r * columns + p * PANEL, columns,
                         static_cast<int>(std::min<int64_t>(PANEL, columns - p * PANEL)), from, std::min(k, from + step));
        }
    }
}

// Each token is multiplied by the experts that were chosen for it: src = weights [k, columns, experts],
// rows [k, 1 or used, tokens], ids [used, tokens]; the result is [columns, used, tokens]. Rows are sorted by
// expert as they are quantised, so that an expert's rows lie together.
void Packed::multiply_by_expert(const Work &work, Tensor *op) const {
    const Tensor *weights = op->src[0], *x = op->src[1], *ids = op->src[2];
    const int64_t k = weights->ne[0], columns = weights->ne[1], experts = weights->ne[2], panels = panels_of(columns);
    const int64_t used = ids->ne[0], tokens = ids->ne[1], pairs = used * tokens;
    const RowForm form = kernels_.rows(kind_.form, k);
    const size_t stride = form.size(), panel_size = kind_.form.panel(k);
    auto *codes = reinterpret_cast<int8_t *>((reinterpret_cast<uintptr_t>(work.data) + 63) & ~uintptr_t{63});
    auto *starts = reinterpret_cast<int64_t *>(codes + pairs * stride), *sorted = starts + experts + 1;
    const auto expert_of = [&](int64_t pair) {
        int32_t id;
        std::memcpy(&id, static_cast<const char *>(ids->data) + pair % used * ids->nb[0] + pair / used * ids->nb[1], 4);
        return static_cast<int64_t>(id);
    };
    if (work.ith == 0) {
        std::fill(starts, starts + experts + 1, 0);
        for (int64_t i = 0; i < pairs; i++) starts[expert_of(i) + 1]++;
        for (int64_t e = 0; e < experts; e++) starts[e + 1] += starts[e];
        std::vector<int64_t> next(starts, starts + experts);
        for (int64_t i = 0; i < pairs; i++) sorted[next[expert_of(i)]++] = i;
        engine_.threadpool_chunk_set(work.pool, work.nth);
    }
    engine_.barrier(work.pool);
    for (int64_t i = work.ith; i < pairs; i += work.nth) {
        const int64_t slot = sorted[i] % used, token = sorted[i] / used;
        const char *row = static_cast<const char *>(x->data) + slot % x->ne[1] * x->nb[1] + token * x->nb[2];
        kernels_.quantise(form, reinterpret_cast<const float *>(row), codes + i * stride);
    }
    engine_.barrier(work.pool);

    const int64_t group = std::max<int64_t>(1, (panels + work.nth * 2 - 1) / (work.nth * 2)), groups = (panels + group - 1) / group;
    for (int64_t g = work.ith; g < groups * experts; g = engine_.threadpool_chunk_add(work.pool, 1)) {
        const int64_t e = g / groups, first = g % groups * group, last = std::min(panels, first + group);
        for (int64_t p = first; p < last; p++) {
            const auto *panel = static_cast<const uint8_t *>(weights->data) + (e * panels + p) * panel_size;
            const int width = static_cast<int>(std::min<int64_t>(PANEL, columns - p * PANEL));
            for (int64_t r = starts[e]; r < starts[e + 1]; r += ROW_BLOCK) {
                const int64_t height = std::min(ROW_BLOCK, starts[e + 1] - r);
                float out[ROW_BLOCK * PANEL];
                span(panel, codes + r * stride, stride, form, height, out, PANEL, width, 0, k);
                for (int64_t i = 0; i < height; i++) {
                    const int64_t slot = sorted[r + i] % used, token = sorted[r + i] / used;
                    auto *to = reinterpret_cast<float *>(static_cast<char *>(op->data) + slot * op->nb[1] + token * op->nb[2]);
                    std::memcpy(to + p * PANEL, out + i * PANEL, width * sizeof(float));
                }
            }
        }
    }
}

}  // namespace inhouse
