// Attention of few rows (a token or two). In the lanes are numbers of a head, as rows would leave them empty:
//
//   scores [row][key]   = sum over d of  q[row][d] x k[key][d]        across lanes, W of them at once
//   weights [row][key]  = exp(score - largest of the row)
//   out [row][d]       += sum over keys of  weight x v[key][d]        a tile: up to 4 rows x up to 8 vectors
//
// Memory is the limit: 2 (k + v) bytes of each key for 2 (k + v) operations and row. So halves are converted where
// they are used; other types of caches a block at a time.
#pragma once

#include "attention_shared.h"

#include <type_traits>

namespace inhouse {
namespace {

template <class S>
class FewRows : Room {
    using V = typename S::V;
    static constexpr int W = S::W;
    static_assert(KEYS % W == 0);

  public:
    explicit FewRows(const Piece &p) : Room(p) {}

    template <bool GUARDED>
    void attend() {
        std::fill(p_.most, p_.most + p_.rows, LOWEST);
        std::fill(p_.sum, p_.sum + p_.rows, 0.0f);
        std::fill(p_.out, p_.out + p_.rows * p_.v.size, 0.0f);
        const bool halves = p_.k.type == F16 && p_.v.type == F16;
        for (int64_t from = p_.from; from < p_.to; from += KEYS) {
            const int64_t count = open_keys(from, std::min(KEYS, p_.to - from));
            if (count == 0) continue;
            if (halves) {
                block<GUARDED>(from, count, Halves{p_.k.data + from * static_cast<int64_t>(p_.k.stride), p_.k.stride},
                               Halves{p_.v.data + from * static_cast<int64_t>(p_.v.stride), p_.v.stride});
            } else {
                convert<S>(p_.k, from, count, p_.to - 1, k_, k_pitch_);
                convert<S>(p_.v, from, count, p_.to - 1, v_, v_pitch_);
                block<GUARDED>(from, count, Floats{k_, k_pitch_}, Floats{v_, v_pitch_});
            }
        }
    }

  private:
    struct Halves {
        const char *data;
        size_t stride;
        V at(int64_t key, int64_t d) const { return S::halves(reinterpret_cast<const uint16_t *>(data + key * static_cast<int64_t>(stride)) + d); }
        void soon(int64_t key, int64_t size) const {
            const char *row = data + key * static_cast<int64_t>(stride);
            for (int64_t i = 0; i < size * 2; i += 64) __builtin_prefetch(row + i);
        }
    };
    struct Floats {
        const float *data;
        int64_t pitch;
        V at(int64_t key, int64_t d) const { return S::load(data + key * pitch + d); }
        void soon(int64_t, int64_t) const {}
    };

    // Up to the last key of a block that a row is open for: while a text is short, most of its only block is closed.
    int64_t open_keys(int64_t from, int64_t count) const {
        if (!p_.mask[0]) return count;
        int64_t open = 0;
        for (int r = 0; r < p_.rows && open < count; r = after(p_, r)) {
            const uint16_t *mask = p_.mask[r] + from;
            if (openness(mask, count) == Open::none) continue;
            int64_t last = count;
            while (mask[last - 1] == 0xfc00) last--;
            open = std::max(open, last);
        }
        return open;
    }

    // Rows in tiles of up to four.
    template <class Tile>
    static void in_tiles(int from, int to, Tile tile) {
        for (; from + 4 <= to; from += 4) tile(std::integral_constant<int, 4>(), from);
        if (to - from == 3) tile(std::integral_constant<int, 3>(), from);
        if (to - from == 2) tile(std::integral_constant<int, 2>(), from);
        if (to - from == 1) tile(std::integral_constant<int, 1>(), from);
    }

    template <bool GUARDED, class From>
    void block(int64_t from, int64_t count, From k, From v) {
        const int64_t last = p_.to - 1 - from;
        float *scores = rest_;  // [row][KEYS]
        for (int r = 0, end; r < p_.rows; r = end) {
            end = after(p_, r);
            const Open open = p_.mask[r] ? openness(p_.mask[r] + from, count) : Open::all;
            if (open == Open::none) continue;
            in_tiles(r, end, [&](auto rows, int i) { dots<rows.value>(i, count, last, k, v, scores + i * KEYS); });
            for (int i = r; i < end; i++) soften(i, from, count, open, scores + i * KEYS);
            in_tiles(r, end, [&](auto rows, int i) { weigh<rows.value, GUARDED>(i, count, v, scores + i * KEYS); });
        }
    }

    // Scores of R rows, a few keys at a time. Their values and the keys of the next block, up to `last`, are asked for.
    template <int R, class From>
    void dots(int row, int64_t count, int64_t last, From k, From v, float *scores) const {
        constexpr int K = W / (R == 3 ? 4 : R);
        for (int64_t key = 0; key < count; key += K) {
            V sums[W];
            int64_t keys[K];
            UNROLL for (int i = 0; i < W; i++) sums[i] = S::zero();
            UNROLL for (int i = 0; i < K; i++) v.soon(keys[i] = std::min(key + i, count - 1), p_.v.size);
            UNROLL for (int i = 0; i < K; i++) k.soon(std::min(key + i + KEYS, last), p_.k.size);
            for (int64_t d = 0; d < p_.k.size; d += W) {
                V q[R];
                UNROLL for (int r = 0; r < R; r++) q[r] = S::load(p_.q[row + r] + d);
                UNROLL for (int i = 0; i < K; i++) {
                    const V one = k.at(keys[i], d);
                    UNROLL for (int r = 0; r < R; r++) sums[r * K + i] = S::fma(q[r], one, sums[r * K + i]);
                }
            }
            float all[W];
            S::store(all, S::sums(sums));
            UNROLL for (int r = 0; r < R; r++) std::memcpy(scores + r * KEYS + key, all + r * K, K * sizeof(float));
        }
    }

    // Scores of a row become weights.
    void soften(int row, int64_t from, int64_t count, Open open, float *scores) {
        uint16_t padded[KEYS];
        const uint16_t *mask = p_.mask[row] ? p_.mask[row] + from : nullptr;
        if (open == Open::partly && count < KEYS) {
            std::memcpy(padded, mask, static_cast<size_t>(count) * sizeof *mask);
            std::fill(padded + count, padded + KEYS, 0xfc00);
            mask = padded;
        }
        const int64_t all = (count + W - 1) / W * W;
        for (int64_t i = 0; i < all; i += W) {
            V s = tame<S>(S::mul(S::load(scores + i), S::set(p_.scale)), p_.softcap);
            if (open == Open::partly) s = S::closed_or_sum(s, S::mul(S::halves(mask + i), S::set(p_.slope[row])));
            S::store(scores + i, s);
        }
        std::fill(scores + count, scores + all, LOWEST);
        V most = S::set(LOWEST), sum = S::zero();
        for (int64_t i = 0; i < all; i += W) most = S::max(S::load(scores + i), most);
        const float largest = std::max(p_.most[row], S::largest(most)), base = largest == LOWEST ? 0 : largest;
        for (int64_t i = 0; i < all; i += W) {
            const V w = S::exp(S::sub(S::load(scores + i), S::set(base)));
            S::store(scores + i, w);
            sum = S::add(sum, w);
        }
        const float factor = exp_of<S>(p_.most[row] - base);
        p_.sum[row] = p_.sum[row] * factor + S::sum(sum);
        p_.most[row] = largest;
        if (factor == 1) return;
        float *out = p_.out + row * p_.v.size;
        for (int64_t d = 0; d < p_.v.size; d += W) S::store(out + d, S::mul(S::load(out + d), S::set(factor)));
    }

    template <int R, bool GUARDED, class From>
    void weigh(int row, int64_t count, From v, const float *weights) const {
        constexpr int N = R == 1 ? 8 : R == 2 || W == 16 ? 4 : 2;  // vectors: 8 sums or more, as many as there are registers
        int64_t d = 0;
        for (; d + N * W <= p_.v.size; d += N * W) weigh_tile<R, N, GUARDED>(row, d, count, v, weights);
        if constexpr (N == 8)
            for (; d + 4 * W <= p_.v.size; d += 4 * W) weigh_tile<R, 4, GUARDED>(row, d, count, v, weights);
        for (; d < p_.v.size; d += W) weigh_tile<R, 1, GUARDED>(row, d, count, v, weights);
    }

    template <int R, int N, bool GUARDED, class From>
    void weigh_tile(int row, int64_t d, int64_t count, From v, const float *weights) const {
        V sums[R][N];
        float *out = p_.out + row * p_.v.size + d;
        UNROLL for (int r = 0; r < R; r++)
            UNROLL for (int n = 0; n < N; n++) sums[r][n] = S::load(out + r * p_.v.size + n * W);
        for (int64_t key = 0; key < count; key++) {
            V value[N];
            UNROLL for (int n = 0; n < N; n++) value[n] = v.at(key, d + n * W);
            UNROLL for (int r = 0; r < R; r++) {
                const V w = S::set(weights[r * KEYS + key]);
                UNROLL for (int n = 0; n < N; n++) sums[r][n] = weighed<S, GUARDED>(sums[r][n], w, value[n]);
            }
        }
        UNROLL for (int r = 0; r < R; r++)
            UNROLL for (int n = 0; n < N; n++) S::store(out + r * p_.v.size + n * W, sums[r][n]);
    }
};

}  // namespace
}  // namespace inhouse
