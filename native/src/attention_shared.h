// What both kernels of attention use (attention_few.h, attention_many.h): the room of a piece, masks, conversions.
#pragma once

#include "attention.h"
#include "unroll.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace inhouse {
namespace {

constexpr float LOWEST = -std::numeric_limits<float>::infinity();

enum class Open { none, partly, all };

// What a mask does to a block of keys.
inline Open openness(const uint16_t *mask, int64_t count) {
    uint16_t any = 0, closed = 0;
    for (int64_t i = 0; i < count; i++) {
        any = static_cast<uint16_t>(any | (mask[i] & 0x7fff));
        closed = static_cast<uint16_t>(closed | (mask[i] ^ 0xfc00));
    }
    return !any ? Open::all : !closed ? Open::none : Open::partly;
}

// The row after those that see the same as row r.
inline int after(const Piece &p, int r) {
    int end = r + 1;
    while (end < p.rows && p.mask[end] == p.mask[r]) end++;
    return end;
}

// A piece and its scratch: keys and values of a block as floats, a mask, and what is left.
class Room {
  protected:
    explicit Room(const Piece &p)
        : p_(p), k_pitch_(pitch_of(p.k.size)), v_pitch_(pitch_of(p.v.size)), k_(p.scratch), v_(k_ + KEYS * k_pitch_),
          mask_(v_ + KEYS * v_pitch_), rest_(mask_ + KEYS * LANES) {}

    const Piece &p_;
    const int64_t k_pitch_, v_pitch_;
    float *const k_, *const v_, *const mask_, *const rest_;
};

template <class S>
float exp_of(float x) {
    float all[S::W];
    S::store(all, S::exp(S::set(x)));
    return all[0];
}

// `count` keys or values as floats; zeros follow to fill up a tile. Those of the next block, up to `last`, are asked for.
template <class S>
void convert(const Cache &from, int64_t first, int64_t count, int64_t last, float *to, int64_t pitch) {
    constexpr int W = S::W;
    const auto stride = static_cast<int64_t>(from.stride);
    const int64_t bytes = from.type == Q8_0 ? from.size / 32 * 34 : from.type == F32 ? from.size * 4 : from.size * 2;
    const char *row = from.data + first * stride;
    for (int64_t i = 0; i < count; i++, row += stride, to += pitch) {
        const char *next = from.data + std::min(first + i + KEYS, last) * stride;
        for (int64_t byte = 0; byte < bytes; byte += 64) __builtin_prefetch(next + byte);
        const auto *halves = reinterpret_cast<const uint16_t *>(row);
        switch (from.type) {
            case F16:
                for (int64_t d = 0; d < from.size; d += W) S::store(to + d, S::halves(halves + d));
                break;
            case BF16:
                for (int64_t d = 0; d < from.size; d += W) S::store(to + d, S::bf16(halves + d));
                break;
            case Q8_0:
                for (int64_t d = 0; d < from.size; d += 32) {
                    const char *block = row + d / 32 * 34;
                    const auto scale = S::half(block);
                    for (int j = 0; j < 32; j += W) S::store(to + d + j, S::mul(S::bytes(block + 2 + j), scale));
                }
                break;
            default: std::memcpy(to, row, static_cast<size_t>(from.size) * sizeof(float));
        }
    }
    for (int64_t i = count; i % W || i % S::DEEP; i++, to += pitch) std::memset(to, 0, static_cast<size_t>(from.size) * sizeof(float));
}

template <class S>
typename S::V tame(typename S::V score, float cap) {
    return cap != 0 ? S::mul(S::tanh(score), S::set(cap)) : score;
}

template <class S, bool GUARDED>
typename S::V weighed(typename S::V sum, typename S::V weight, typename S::V value) {
    if constexpr (GUARDED) value = S::where_weighed(value, weight);  // else the same, to the last bit
    return S::fma(weight, value, sum);
}

}  // namespace
}  // namespace inhouse
