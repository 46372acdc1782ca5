// How flash attention is divided.
//
// A group of query heads shares a head of keys and values. Its rows, all heads of a token side by side, are cut into
// blocks; a unit is (sequence, key head, block of rows, piece of the keys), so that keys and values are
// read and converted once for many rows:
//
//                 keys 0 ...              piece 0 | piece 1 | ...
//   token 0  head 0 ..  group - 1  \                                 each unit: largest score, sum, and
//   token 1  head 0 ..  group - 1   > block of rows                  weighted values of each row
//   ...                            /
//
// Keys are cut only where there are few blocks (decoding a long text), by shape and not by the number of threads:
// so the result does not depend on it. Partial results are merged after all threads have met. Units are
// taken from a common counter, the last tokens first: they see the most keys.
#include "attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace inhouse {

int OP_FLASH_ATTENTION = -1;

namespace {

constexpr int64_t UNITS = 64;          // keys are cut to have about so many,
constexpr int64_t SHORTEST = 512;      // but no shorter than this
constexpr int64_t ROW_FLOATS = 32768;  // of queries and results of a block: they and a block of keys fit the L2

struct Shape {
    int64_t k, v, keys, tokens, heads, key_heads, sequences;
    int64_t group, rows, height, blocks, pieces, length;

    explicit Shape(const Tensor *op) {
        const Tensor *q = op->src[0];
        k = q->ne[0], tokens = q->ne[1], heads = q->ne[2], sequences = q->ne[3];
        keys = op->src[1]->ne[1], key_heads = op->src[1]->ne[2], v = op->src[2]->ne[0];
        group = heads / key_heads;
        rows = group * tokens;
        height = std::clamp(ROW_FLOATS / (k + v) / LANES * LANES, LANES, MOST_QUERIES);
        height = std::min(height, rows);
        blocks = height ? (rows + height - 1) / height : 0;
        const int64_t units = std::max<int64_t>(1, sequences * key_heads * blocks);
        pieces = std::max<int64_t>(1, std::min((keys + SHORTEST - 1) / SHORTEST, (UNITS + units - 1) / units));
        length = ((keys + pieces - 1) / pieces + KEYS - 1) / KEYS * KEYS;
        pieces = length ? (keys + length - 1) / length : 1;
    }
    int64_t units() const { return sequences * key_heads * blocks * pieces; }
    int64_t scratch() const { return (scratch_of(height, k, v) + height * (v + 2) + 15) / 16 * 16; }
    int64_t partial() const { return pieces > 1 ? sequences * key_heads * rows * pieces * (v + 2) : 0; }
    size_t size(int64_t threads) const { return static_cast<size_t>(threads * scratch() + partial()) * sizeof(float) + 64; }
};

const float *floats(const void *at) { return static_cast<const float *>(at); }

template <class T>
const T *at(const Tensor *t, int64_t a, int64_t b, int64_t c) {
    return reinterpret_cast<const T *>(static_cast<const char *>(t->data) + a * t->nb[1] + b * t->nb[2] + c * t->nb[3]);
}

size_t size_of(int type) { return type == F32 ? 4 : type == F16 || type == BF16 ? 2 : type == Q8_0 ? 34 : 0; }

bool cached(const Tensor *t) {
    const int64_t most = MOST_HEAD;
    return size_of(t->type) && t->nb[0] == size_of(t->type) && t->ne[0] > 0 && t->ne[0] <= most && t->ne[0] % (t->type == Q8_0 ? 32 : 16) == 0;
}

float parameter(const Tensor *op, int i) {
    float value;
    std::memcpy(&value, &op->op_params[i], sizeof value);
    return value;
}

// 2^-x for x >= 0, as a newer libm's would ask for a newer system.
double half_to_the(double x) {
    if (x > 1000) return 0;
    const int whole = static_cast<int>(x);
    double term = 1, sum = 1;
    for (int i = 1; i < 20; i++) sum += term *= -(x - whole) * 0.69314718055994530942 / i;
    for (int i = 0; i < whole; i++) sum /= 2;
    return sum;
}

// ALiBi: what the mask (the distance) is multiplied with, by head.
float slope_of(float bias, int64_t heads, int64_t head) {
    if (!(bias > 0)) return 1;
    int64_t power = 1;
    while (power * 2 <= heads) power *= 2;
    const double b = static_cast<double>(bias) / static_cast<double>(power);
    return static_cast<float>(half_to_the(head < power ? b * static_cast<double>(head + 1) : b / 2 * static_cast<double>(2 * (head - power) + 1)));
}

// One operation, by one thread.
class Pass {
  public:
    Pass(const AttentionKernel &kernel, const Work &work, Tensor *op)
        : kernel_(kernel), op_(op), s_(op), base_(reinterpret_cast<float *>((reinterpret_cast<uintptr_t>(work.data) + 63) & ~uintptr_t{63})),
          partial_(base_ + work.nth * s_.scratch()), mine_(base_ + work.ith * s_.scratch()) {
        piece_.scale = parameter(op, 0);
        piece_.softcap = parameter(op, 2);
        if (piece_.softcap != 0) piece_.scale /= piece_.softcap;
        piece_.scratch = mine_;
    }
    const Shape &shape() const { return s_; }

    void unit(int64_t number) {
        const int64_t part = number % s_.pieces, outer = number / s_.pieces;  // the last block first
        const int64_t block = s_.blocks - 1 - outer / (s_.key_heads * s_.sequences), both = outer % (s_.key_heads * s_.sequences);
        const int64_t head = both % s_.key_heads, sequence = both / s_.key_heads;
        const int64_t first = block * s_.height, rows = std::min(s_.height, s_.rows - first);
        const Tensor *q = op_->src[0], *mask = op_->src[3];
        const float bias = parameter(op_, 1);
        piece_.k = cache(op_->src[1], head, sequence);
        piece_.v = cache(op_->src[2], head, sequence);
        piece_.from = part * s_.length;
        piece_.to = std::min(s_.keys, piece_.from + s_.length);
        piece_.rows = static_cast<int>(rows);
        for (int64_t i = 0; i < rows; i++) {
            const int64_t token = (first + i) / s_.group, h = head * s_.group + (first + i) % s_.group;
            piece_.q[i] = at<float>(q, token, h, sequence);
            piece_.mask[i] = mask ? at<uint16_t>(mask, token, h % mask->ne[2], sequence % mask->ne[3]) : nullptr;
            piece_.slope[i] = slope_of(bias, s_.heads, h);
        }
        float *to = s_.pieces > 1 ? partial(sequence, head, first, part) : mine_ + scratch_of(s_.height, s_.k, s_.v);
        const int64_t stride = s_.pieces > 1 ? s_.rows : rows;  // most of all rows, sums of all rows, values
        piece_.most = to;
        piece_.sum = to + stride;
        piece_.out = s_.pieces > 1 ? values(sequence, head, first, part) : to + 2 * rows;
        kernel_.piece(piece_);
        if (s_.pieces == 1)
            for (int64_t i = 0; i < rows; i++) finish(sequence, head, first + i, piece_.most[i], piece_.sum[i], piece_.out + i * s_.v);
    }

    // Of one row of all sequences and heads, what the pieces found.
    void merge(int64_t number) {
        const int64_t row = number % s_.rows, head = number / s_.rows % s_.key_heads, sequence = number / (s_.rows * s_.key_heads);
        float most = *partial(sequence, head, row, 0), sum = partial(sequence, head, row, 0)[s_.rows];
        float *out = values(sequence, head, row, 0);
        for (int64_t p = 1; p < s_.pieces; p++) {
            const float *other = partial(sequence, head, row, p);
            kernel_.merge(most, sum, out, other[0], other[s_.rows], values(sequence, head, row, p), s_.v);
        }
        finish(sequence, head, row, most, sum, out);
    }

  private:
    Cache cache(const Tensor *t, int64_t head, int64_t sequence) const {
        return {at<char>(t, 0, head, sequence * t->ne[3] / s_.sequences), t->nb[1], t->type, t->ne[0]};
    }
    // Of a (sequence, head, piece): [largest of rows] [sums of rows] [row][values].
    float *piece_at(int64_t sequence, int64_t head, int64_t part) const {
        return partial_ + ((sequence * s_.key_heads + head) * s_.pieces + part) * s_.rows * (s_.v + 2);
    }
    float *partial(int64_t sequence, int64_t head, int64_t row, int64_t part) const { return piece_at(sequence, head, part) + row; }
    float *values(int64_t sequence, int64_t head, int64_t row, int64_t part) const {
        return piece_at(sequence, head, part) + 2 * s_.rows + row * s_.v;
    }
    void finish(int64_t sequence, int64_t head, int64_t row, float most, float sum, const float *out) const {
        const int64_t token = row / s_.group, h = head * s_.group + row % s_.group;
        const float sink = op_->src[4] ? floats(op_->src[4]->data)[h] : -std::numeric_limits<float>::infinity();
        kernel_.finish(most, sum, out, sink, const_cast<float *>(at<float>(op_, h, token, sequence)), s_.v);
    }

    const AttentionKernel &kernel_;
    Tensor *op_;
    const Shape s_;
    float *base_, *partial_, *mine_;
    Piece piece_;
};

}  // namespace

bool Attention::takes(const Tensor *op) const {
    if (op->op != OP_FLASH_ATTENTION) return false;
    const Tensor *q = op->src[0], *k = op->src[1], *v = op->src[2], *mask = op->src[3], *sinks = op->src[4];
    if (!q || !k || !v || q->type != F32 || q->nb[0] != 4 || op->type != F32 || op->nb[0] != 4 || !cached(k) || !cached(v)) return false;
    if (q->ne[0] != k->ne[0] || k->ne[1] != v->ne[1] || k->ne[2] != v->ne[2] || k->ne[3] != v->ne[3]) return false;
    if (k->ne[2] < 1 || q->ne[2] % k->ne[2] || k->ne[3] < 1 || q->ne[3] % k->ne[3]) return false;
    if (op->ne[0] != v->ne[0] || op->ne[1] != q->ne[2] || op->ne[2] != q->ne[1] || op->ne[3] != q->ne[3]) return false;
    if (mask && (mask->type != F16 || mask->nb[0] != 2 || mask->ne[0] < k->ne[1] || mask->ne[1] < q->ne[1] || mask->ne[2] < 1 || mask->ne[3] < 1))
        return false;
    if (sinks && (sinks->type != F32 || sinks->nb[0] != 4 || sinks->ne[0] != q->ne[2])) return false;
    for (int i = 5; i < SOURCES; i++)
        if (op->src[i]) return false;
    for (int i = 0; i < 5; i++) {
        Buffer *buffer = !op->src[i] ? nullptr : op->src[i]->view_src ? op->src[i]->view_src->buffer : op->src[i]->buffer;
        if (buffer && !engine_.backend_buft_is_host(engine_.backend_buffer_get_type(buffer))) return false;
    }
    return true;
}

bool Attention::work_size(int threads, const Tensor *op, size_t &size) {
    if (!takes(op)) return false;
    size = Shape(op).size(threads);
    return true;
}

bool Attention::compute_forward(Work *work, Tensor *op) {
    if (!takes(op)) return false;
    Pass pass(kernel_, *work, op);
    const Shape &shape = pass.shape();
    if (work->size < shape.size(work->nth)) return false;  // it was planned without us
    // So few keys and rows are done before the threads have met.
    const bool counted = shape.pieces > 1 || shape.blocks > 1;
    if (counted) {
        if (work->ith == 0) engine_.threadpool_chunk_set(work->pool, work->nth);
        engine_.barrier(work->pool);
    }
    for (int64_t u = work->ith; u < shape.units(); u = counted ? engine_.threadpool_chunk_add(work->pool, 1) : u + work->nth) pass.unit(u);
    if (shape.pieces == 1) return true;
    engine_.barrier(work->pool);
    for (int64_t r = work->ith; r < shape.sequences * shape.key_heads * shape.rows; r += work->nth) pass.merge(r);
    return true;
}

}  // namespace inhouse
