// What attention reaches on one thread: usage: attention_micro
//
//   a prompt   the last 512 tokens of 512 or 4,096, causal; 12 heads of queries on 2 of keys and values. GOPS counts
//              a multiplication and an addition of each number of the keys and values that a row sees: what is
//              computed of closed keys counts as nothing. The share is of the peak of vfmadd231ps, measured first.
//   a token    the last of 4,096; 2 or 12 heads on 2. Keys and values are read once for 1 or 6 rows: how fast, and
//              GOPS. Between tries the caches are filled with something else.
//
// The cache lies as the engine keeps it, [key][head][number]. The best of several tries counts. The whole operation
// is measured, as the engine calls it.
#include "../src/attention.h"
#include "peak.h"

#include <cstdio>
#include <cstring>
#include <random>
#include <utility>

using namespace inhouse;

namespace {

constexpr int OPERATION = 77, TRIES = 9;
constexpr int64_t KEY_HEADS = 2;

int chunk;

// The engine as one thread meets it.
Engine alone() {
    Engine engine{};
    engine.barrier = [](void *) {};
    engine.threadpool_chunk_set = [](void *, int value) { chunk = value; };
    engine.threadpool_chunk_add = [](void *, int value) { return std::exchange(chunk, chunk + value); };
    return engine;
}

Tensor tensor(int type, size_t element, void *data, const int64_t (&ne)[DIMS], const size_t (&nb)[DIMS - 1]) {
    Tensor made{};
    made.type = type;
    made.data = data;
    std::copy(ne, ne + DIMS, made.ne);
    made.nb[0] = element;
    std::copy(nb, nb + DIMS - 1, made.nb + 1);
    return made;
}

class Bench {
  public:
    Bench(const AttentionKernel &kernel, int type, int64_t size, int64_t heads, int64_t tokens, int64_t keys)
        : heads_(heads), tokens_(tokens), keys_(keys), element_(type == Q8_0 ? 34 : 2), row_(static_cast<size_t>(type == Q8_0 ? size / 32 : size) * element_),
          q_(static_cast<size_t>(tokens * heads * size)), out_(q_.size()), k_(cache(type)), v_(cache(type)),
          mask_(static_cast<size_t>(tokens * keys)), engine_(alone()), attention_(engine_, kernel) {
        std::normal_distribution<float> normal;
        for (float &x : q_) x = normal(dice_);
        for (int64_t t = 0; t < tokens; t++)
            for (int64_t key = 0; key < keys; key++)
                if (key > keys - tokens + t) mask_[static_cast<size_t>(t * keys + key)] = 0xfc00;
        const auto n = [](int64_t x) { return static_cast<size_t>(x); };
        const size_t floats = n(size) * 4, line = n(keys) * 2;
        tensors_[0] = tensor(F32, 4, q_.data(), {size, tokens, heads, 1}, {floats * n(heads), floats, floats * n(heads * tokens)});
        for (const int i : {1, 2})
            tensors_[i] = tensor(type, element_, (i == 1 ? k_ : v_).data(), {size, keys, KEY_HEADS, 1}, {row_ * KEY_HEADS, row_, row_ * n(KEY_HEADS * keys)});
        tensors_[3] = tensor(F16, 2, mask_.data(), {keys, tokens, 1, 1}, {line, line * n(tokens), line * n(tokens)});
        op_ = tensor(F32, 4, out_.data(), {size, heads, tokens, 1}, {floats, floats * n(heads), floats * n(heads * tokens)});
        op_.op = OPERATION;
        for (int i = 0; i < 4; i++) op_.src[i] = &tensors_[i];
        const float scale = 0.1f;
        std::memcpy(op_.op_params, &scale, sizeof scale);
        size_t bytes = 0;
        attention_.work_size(1, &op_, bytes);
        work_.resize(bytes);
    }

    double seconds(Caches *caches) {
        double best = 1e9;
        for (int i = 0; i < TRIES; i++) {
            if (caches) caches->fill();
            best = std::min(best, best_of(1, [&] {
                Work work{0, 1, work_.size(), work_.data(), nullptr, false};
                attention_.compute_forward(&work, &op_);
            }));
        }
        return best;
    }

    // Of all rows and the keys that they see.
    double operations() const {
        const int64_t seen = tokens_ * (keys_ - tokens_) + tokens_ * (tokens_ + 1) / 2;
        return 4.0 * static_cast<double>(heads_ * seen * op_.ne[0]);
    }
    double bytes() const { return static_cast<double>(k_.size() + v_.size()); }

  private:
    std::vector<uint8_t> cache(int type) {
        std::vector<uint8_t> bytes(static_cast<size_t>(keys_ * KEY_HEADS) * row_);
        for (uint8_t &byte : bytes) byte = static_cast<uint8_t>(dice_());
        for (size_t at = 0; at < bytes.size(); at += element_) {  // halves below 2; scales of 1/64 and less
            const auto bits = static_cast<uint16_t>(type == Q8_0 ? 0x2000 | (dice_() & 0x3ff) : dice_() & 0xbfff);
            std::memcpy(&bytes[at], &bits, sizeof bits);
        }
        return bytes;
    }

    const int64_t heads_, tokens_, keys_;
    const size_t element_, row_;  // bytes of an element (Q8_0: block) and of a head's numbers
    std::mt19937 dice_{1};
    std::vector<float> q_, out_;
    std::vector<uint8_t> k_, v_;
    std::vector<uint16_t> mask_;
    std::vector<uint8_t> work_;
    Engine engine_;
    Attention attention_;
    Tensor tensors_[4], op_;
};

}  // namespace

int main() {
    const Kernels *kernels = best_kernels();
    if (!kernels || !kernels->attention) {
        std::puts("there is no attention for this processor");
        return 1;
    }
    OP_FLASH_ATTENTION = OPERATION;
    const bool wide = std::strstr(kernels->isa, "avx512") != nullptr;
    const double most = wide ? peak(fma512, 16) : peak(fma256, 8);
    std::printf("%s, peak of vfmadd231ps on one thread: %.0f GOPS\n\n", kernels->isa, most);
    std::puts("             512 tokens,             1 token of 4,096,");
    std::puts("               6 rows a key head       1 row            6 rows");
    std::puts("cache  head    of 512     of 4,096     GB/s    GOPS     GB/s    GOPS");
    Caches caches;
    for (const int type : {F16, Q8_0})
        for (const int64_t size : {64, 128}) {
            std::printf("%-5s %5lld", type == F16 ? "F16" : "Q8_0", static_cast<long long>(size));
            for (const int64_t keys : {512, 4096}) {
                Bench bench(*kernels->attention, type, size, 6 * KEY_HEADS, 512, keys);
                const double gops = bench.operations() / bench.seconds(nullptr) / 1e9;
                std::printf("%8.0f %3.0f%%", gops, 100 * gops / most);
            }
            for (const int64_t rows : {1, 6}) {
                Bench bench(*kernels->attention, type, size, rows * KEY_HEADS, 1, 4096);
                const double seconds = bench.seconds(&caches) * 1e9;
                std::printf("%9.1f %7.0f", bench.bytes() / seconds, bench.operations() / seconds);
            }
            std::puts("");
            std::fflush(stdout);
        }
    return 0;
}
