// Attention of many rows: 2 vectors of rows side by side, in the lanes. Queries are turned once, [number][row]; keys
// and values need not be, since of them single numbers are broadcast:
//
//   scores [key][row]   = sum over d of  k[key][d] x q[d][row]        a tile: DEEP keys x 2 vectors of rows
//   weights [key][row]  = exp(score - largest of the row)             nothing but vertical operations
//   out [d][row]       += sum over keys of  v[key][d] x weights       a tile: DEEP numbers x 2 vectors
//
// So of 3 DEEP + 2 instructions 2 DEEP are multiply-adds, which are the limit (32 operations in a cycle on Zen 4);
// converting a block of keys (KEYS x (k + v) / 16 steps) is shared by all rows of the piece, and exp costs about
// 20 instructions for each score of 2 (k + v) / 16.
//
// Scratch of each tile of SIDE = 2 W rows: queries [d][SIDE], results [d][SIDE], largest scores and sums [SIDE];
// after all of them weights [KEYS][SIDE], of one tile at a time.
#pragma once

#include "attention_shared.h"

namespace inhouse {
namespace {

template <class S>
class ManyRows : Room {
    using V = typename S::V;
    static constexpr int W = S::W, DEEP = S::DEEP, SIDE = 2 * W;
    static_assert(SIDE <= LANES && KEYS % DEEP == 0 && KEYS % W == 0);

  public:
    explicit ManyRows(const Piece &p) : Room(p) {}

    template <bool GUARDED>
    void attend() {
        for (int64_t t = 0; t < tiles(); t++) start(t);
        for (int64_t from = p_.from; from < p_.to; from += KEYS) {
            const int64_t count = std::min(KEYS, p_.to - from);
            bool converted = false;
            for (int64_t t = 0; t < tiles(); t++) {
                const Open open = open_for(t, from, count);
                if (open == Open::none) continue;
                if (!converted) {
                    convert<S>(p_.k, from, count, p_.to - 1, k_, k_pitch_);
                    convert<S>(p_.v, from, count, p_.to - 1, v_, v_pitch_);
                    converted = true;
                }
                if (open == Open::partly) turn_mask(t, from, count);
                rows_of(t) <= W ? tile<1, GUARDED>(t, count, open) : tile<2, GUARDED>(t, count, open);
            }
        }
        for (int64_t t = 0; t < tiles(); t++) end(t);
    }

  private:
    int64_t tiles() const { return (p_.rows + SIDE - 1) / SIDE; }
    float *queries(int64_t tile) const { return rest_ + tile * SIDE * (p_.k.size + p_.v.size + 2); }
    float *results(int64_t tile) const { return queries(tile) + SIDE * p_.k.size; }
    float *mosts(int64_t tile) const { return results(tile) + SIDE * p_.v.size; }
    float *weights() const { return queries(tiles()); }
    int rows_of(int64_t tile) const { return static_cast<int>(std::min<int64_t>(SIDE, p_.rows - tile * SIDE)); }

    Open open_for(int64_t tile, int64_t from, int64_t count) const {
        const int first = static_cast<int>(tile * SIDE), last = first + rows_of(tile);
        if (!p_.mask[first]) return Open::all;
        const Open one = openness(p_.mask[first] + from, count);
        for (int r = first; one != Open::partly && r < last; r = after(p_, r))
            if (openness(p_.mask[r] + from, count) != one) return Open::partly;
        return one;
    }

    void start(int64_t tile) {
        float *to = queries(tile);
        const int rows = rows_of(tile);
        for (int half = 0; half < SIDE; half += W)
            for (int64_t d = 0; d < p_.k.size; d += W) {
                V part[W];
                UNROLL for (int i = 0; i < W; i++)
                    part[i] = half + i < rows ? S::mul(S::load(p_.q[tile * SIDE + half + i] + d), S::set(p_.scale)) : S::zero();
                S::transpose(part);
                UNROLL for (int i = 0; i < W; i++) S::store(to + (d + i) * SIDE + half, part[i]);
            }
        std::fill(results(tile), mosts(tile), 0.0f);
        std::fill(mosts(tile), mosts(tile) + SIDE, LOWEST);
        std::fill(mosts(tile) + SIDE, mosts(tile) + 2 * SIDE, 0.0f);
    }

    void turn_mask(int64_t tile, int64_t from, int64_t count) {
        const int first = static_cast<int>(tile * SIDE), rows = rows_of(tile);
        uint16_t padded[W];
        for (int half = 0; half < rows; half += W)
            for (int64_t key = 0; key < count; key += W) {
                V part[W];
                for (int i = 0; i < W; i++) {
                    const int r = first + std::min(half + i, rows - 1);
                    const uint16_t *mask = p_.mask[r] + from + key;
                    if (count - key < W) mask = static_cast<uint16_t *>(std::memcpy(padded, mask, static_cast<size_t>(count - key) * sizeof *mask));
                    part[i] = S::mul(S::halves(mask), S::set(p_.slope[r]));
                }
                S::transpose(part);
                UNROLL for (int i = 0; i < W; i++) S::store(mask_ + (key + i) * SIDE + half, part[i]);
            }
    }

    // N vectors of rows by a block of keys.
    template <int N, bool GUARDED>
    void tile(int64_t tile, int64_t count, Open open) {
        float *scores = weights();
        const float *q = queries(tile);
        for (int64_t key = 0; key < count; key += DEEP) {
            V sums[DEEP][N];
            UNROLL for (int i = 0; i < DEEP; i++)
                UNROLL for (int n = 0; n < N; n++) sums[i][n] = S::zero();
            const float *k = k_ + key * k_pitch_;
            for (int64_t d = 0; d < p_.k.size; d++) {
                V row[N];
                UNROLL for (int n = 0; n < N; n++) row[n] = S::load(q + d * SIDE + n * W);
                UNROLL for (int i = 0; i < DEEP; i++) {
                    const V one = S::set(k[i * k_pitch_ + d]);
                    UNROLL for (int n = 0; n < N; n++) sums[i][n] = S::fma(row[n], one, sums[i][n]);
                }
            }
            UNROLL for (int i = 0; i < DEEP; i++)
                UNROLL for (int n = 0; n < N; n++) S::store(scores + (key + i) * SIDE + n * W, sums[i][n]);
        }
        soften<N>(tile, count, open);
        float *out = results(tile);
        for (int64_t d = 0; d < p_.v.size; d += DEEP, out += DEEP * SIDE) {
            V sums[DEEP][N];
            UNROLL for (int i = 0; i < DEEP; i++)
                UNROLL for (int n = 0; n < N; n++) sums[i][n] = S::load(out + i * SIDE + n * W);
            for (int64_t key = 0; key < count; key++) {
                V weight[N];
                UNROLL for (int n = 0; n < N; n++) weight[n] = S::load(scores + key * SIDE + n * W);
                UNROLL for (int i = 0; i < DEEP; i++) {
                    const V one = S::set(v_[key * v_pitch_ + d + i]);
                    UNROLL for (int n = 0; n < N; n++) sums[i][n] = weighed<S, GUARDED>(sums[i][n], weight[n], one);
                }
            }
            UNROLL for (int i = 0; i < DEEP; i++)
                UNROLL for (int n = 0; n < N; n++) S::store(out + i * SIDE + n * W, sums[i][n]);
        }
    }

    template <int N>
    void soften(int64_t tile, int64_t count, Open open) {
        float *scores = weights(), *mosts = this->mosts(tile);
        UNROLL for (int n = 0; n < N; n++) {
            V most = S::load(mosts + n * W), sum = S::zero();
            const V before = most;
            if (open == Open::partly || p_.softcap != 0) {
                for (int64_t key = 0; key < count; key++) {
                    float *at = scores + key * SIDE + n * W;
                    V s = tame<S>(S::load(at), p_.softcap);
                    if (open == Open::partly) s = S::closed_or_sum(s, S::load(mask_ + key * SIDE + n * W));
                    S::store(at, s);
                    most = S::max(s, most);
                }
            } else {
                for (int64_t key = 0; key < count; key++) most = S::max(S::load(scores + key * SIDE + n * W), most);
            }
            const V base = S::lowest_is_zero(most), factor = S::exp(S::sub(before, base));
            for (int64_t key = 0; key < count; key++) {
                float *at = scores + key * SIDE + n * W;
                const V w = S::exp(S::sub(S::load(at), base));
                S::store(at, w);
                sum = S::add(sum, w);
            }
            S::store(mosts + n * W, most);
            S::store(mosts + SIDE + n * W, S::fma(S::load(mosts + SIDE + n * W), factor, sum));
            if (S::all_one(factor)) continue;
            float *out = results(tile) + n * W;
            for (int64_t d = 0; d < p_.v.size; d++) S::store(out + d * SIDE, S::mul(S::load(out + d * SIDE), factor));
        }
    }

    void end(int64_t tile) const {
        const int rows = rows_of(tile);
        for (int i = 0; i < rows; i++) {
            p_.most[tile * SIDE + i] = mosts(tile)[i];
            p_.sum[tile * SIDE + i] = mosts(tile)[SIDE + i];
        }
        for (int half = 0; half < rows; half += W)
            for (int64_t d = 0; d < p_.v.size; d += W) {
                V part[W];
                UNROLL for (int i = 0; i < W; i++) part[i] = S::load(results(tile) + (d + i) * SIDE + half);
                S::transpose(part);
                UNROLL for (int i = 0; i < W; i++)
                    if (half + i < rows) S::store(p_.out + (tile * SIDE + half + i) * p_.v.size + d, part[i]);
            }
    }
};

}  // namespace
}  // namespace inhouse
