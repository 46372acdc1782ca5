// Flash attention: softmax(scale * Q K^T + mask) V, for rows of queries over the cache of keys and values.
//
// attention.cpp divides an operation among threads into pieces; the kernel of an instruction set computes one:
// rows of queries that share their keys (all heads of a group, several tokens) by a range of keys.
#pragma once

#include "engine.h"
#include "form.h"

#include <functional>
#include <string>

namespace inhouse {

constexpr int64_t KEYS = 64;        // a block of keys: converted to floats once for all rows of a piece
constexpr int64_t MOST_QUERIES = 192;  // rows of a piece
constexpr int64_t LANES = 32;       // rows that are computed side by side where there are many
constexpr int64_t MOST_HEAD = 1024; // numbers of a head

// Keys or values of one head.
struct Cache {
    const char *data;
    size_t stride;  // bytes from one key to the next
    int type;
    int64_t size;   // numbers of a head
};

struct Piece {
    Cache k, v;
    int64_t from, to;               // keys
    int rows;
    const float *q[MOST_QUERIES];
    const uint16_t *mask[MOST_QUERIES];  // halves, of key 0 on; equal pointers stand together; or all nullptr
    float slope[MOST_QUERIES];      // what the mask is multiplied with
    float scale, softcap;           // of scores; softcap 0: none
    float *scratch;                 // scratch_of() floats, 64-byte aligned
    // Results: of each row its largest score, the sum of exp(score - largest), and the values weighted so.
    float *most, *sum, *out;        // out: [row][v.size]
};

constexpr int64_t pitch_of(int64_t size) { return size + 16; }  // a cache line more: not a power of two

constexpr int64_t scratch_of(int64_t rows, int64_t k, int64_t v) {
    const int64_t lanes = (rows + LANES - 1) / LANES * LANES;
    return KEYS * (pitch_of(k) + pitch_of(v)) + lanes * (k + v + 2 + KEYS) + KEYS * LANES;
}

struct AttentionKernel {
    void (*piece)(const Piece &);
    // Adds what another piece of the same row found: `most`, `sum` and `out` of `size` numbers.
    void (*merge)(float &most, float &sum, float *out, float other_most, float other_sum, const float *other, int64_t size);
    // Divides by the sum, `sink` is one score more, without a value (-inf: none).
    void (*finish)(float most, float sum, const float *out, float sink, float *to, int64_t size);
};

class Attention final : public Traits {
  public:
    Attention(const Engine &engine, const AttentionKernel &kernel) : engine_(engine), kernel_(kernel) {}
    bool takes(const Tensor *op) const;  // else it is left to the engine
    bool work_size(int threads, const Tensor *op, size_t &size) override;
    bool compute_forward(Work *work, Tensor *op) override;

  private:
    const Engine &engine_;
    const AttentionKernel &kernel_;
};

// attention_test.cpp: "" or what is wrong. The first learns OP_FLASH_ATTENTION, the second compares what the engine
// computes without us and with us, which `use` decides.
std::string find_attention(const Engine &engine);
std::string test_attention(const Engine &engine, const std::function<void(bool)> &use);

extern int OP_FLASH_ATTENTION;  // in the running engine; -1 where it has none that we know

}  // namespace inhouse
