// The kernel of attention, for vectors of any width: `S` wraps them (attention_avx512.cpp, attention_avx2.cpp).
//
// Many rows: 2 vectors of rows side by side, in the lanes. Queries are turned once, [number][row]; keys and values
// need not be, since of them single numbers are broadcast:
//
//   scores [key][row]   = sum over d of  k[key][d] x q[d][row]        a tile: DEEP keys x 2 vectors of rows
//   weights [key][row]  = exp(score - largest of the row)             nothing but vertical operations
//   out [d][row]       += sum over keys of  v[key][d] x weights       a tile: DEEP numbers x 2 vectors
//
// So of 3 DEEP + 2 instructions 2 DEEP are multiply-adds, which are the limit (32 operations in a cycle on Zen 4);
// converting a block of keys (KEYS x (k + v) / 16 steps) is shared by all rows of the piece, and exp costs about
// 20 instructions for each score of 2 (k + v) / 16.
//
// Few rows (a token or two): lanes would be empty, so that numbers of a head are in the lanes. Scores are sums
// across lanes, of W of them at once; memory is the limit: 2 (k + v) bytes of each key for 2 (k + v) operations and row.
//
// A block of keys that the mask closes for all rows is not touched. A key that is closed for a row has no part
// in it, even if it holds what is no number: where a result is none, the piece is computed once more, guarded.
#pragma once

#include "attention.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <type_traits>

#define UNROLL _Pragma("GCC unroll 16")

namespace inhouse {
namespace {

constexpr int64_t FEW = 8;  // rows that are open in a block, on average
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

template <class S>
class Attender {
    using V = typename S::V;
    static constexpr int W = S::W, DEEP = S::DEEP;
    static_assert(2 * W <= LANES && KEYS % DEEP == 0 && KEYS % W == 0);

  public:
    static void piece(const Piece &p) {
        Attender one(p);
        const bool few = one.open_rows() <= FEW;
        few ? one.template few_rows<false>() : one.template many_rows<false>();
        if (p.mask[0] && !one.is_finite()) few ? one.template few_rows<true>() : one.template many_rows<true>();
    }

    static void merge(float &most, float &sum, float *out, float other_most, float other_sum, const float *other, int64_t size) {
        const float largest = other_most > most ? other_most : most, base = largest == LOWEST ? 0 : largest;
        const float mine = exp(most - base), its = exp(other_most - base);
        for (int64_t i = 0; i < size; i += W)
            S::store(out + i, S::fma(S::load(other + i), S::set(its), S::mul(S::load(out + i), S::set(mine))));
        sum = sum * mine + other_sum * its;
        most = largest;
    }

    static void finish(float most, float sum, const float *out, float sink, float *to, int64_t size) {
        float mine = 1;
        if (sink > most) {
            mine = exp(most - sink);
            sum = sum * mine + 1;
        } else if (sink != LOWEST) {
            sum += exp(sink - most);
        }
        const V factor = S::set(sum == 0 ? 0 : mine / sum);  // a row that is wholly closed is 0
        for (int64_t i = 0; i < size; i += W) S::store(to + i, S::mul(S::load(out + i), factor));
    }

  private:
    explicit Attender(const Piece &p)
        : p_(p), k_pitch_(pitch_of(p.k.size)), v_pitch_(pitch_of(p.v.size)), k_(p.scratch), v_(k_ + KEYS * k_pitch_),
          mask_(v_ + KEYS * v_pitch_), rest_(mask_ + KEYS * LANES) {}

    static float exp(float x) {
        float all[W];
        S::store(all, S::exp(S::set(x)));
        return all[0];
    }

    // The row after those that see the same as row r.
    int after(int r) const {
        int end = r + 1;
        while (end < p_.rows && p_.mask[end] == p_.mask[r]) end++;
        return end;
    }

    // Rows that a block of keys is open for, on average of the blocks that are open at all.
    int64_t open_rows() const {
        if (p_.rows <= FEW || !p_.mask[0]) return p_.rows;
        int64_t open = 0, blocks = 0;
        for (int64_t from = p_.from; from < p_.to; from += KEYS) {
            int64_t here = 0;
            for (int r = 0, end; r < p_.rows; r = end) {
                end = after(r);
                if (openness(p_.mask[r] + from, std::min(KEYS, p_.to - from)) != Open::none) here += end - r;
            }
            open += here;
            blocks += here > 0;
        }
        return blocks ? open / blocks : 0;
    }

    bool is_finite() const {
        V none = S::zero();  // x - x is 0, or no number
        for (int64_t i = 0; i < p_.rows * p_.v.size; i += W) {
            const V x = S::load(p_.out + i);
            none = S::add(none, S::sub(x, x));
        }
        return S::sum(none) == 0;
    }

    // `count` keys or values as floats; zeros follow to fill up a tile.
    static void convert(const Cache &from, int64_t first, int64_t count, float *to, int64_t pitch) {
        const char *row = from.data + first * static_cast<int64_t>(from.stride);
        for (int64_t i = 0; i < count; i++, row += from.stride, to += pitch) {
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
                        const V scale = S::half(block);
                        for (int j = 0; j < 32; j += W) S::store(to + d + j, S::mul(S::bytes(block + 2 + j), scale));
                    }
                    break;
                default: std::memcpy(to, row, static_cast<size_t>(from.size) * sizeof(float));
            }
        }
        for (int64_t i = count; i % W || i % DEEP; i++, to += pitch) std::memset(to, 0, static_cast<size_t>(from.size) * sizeof(float));
    }

    static V tame(V score, float cap) { return cap != 0 ? S::mul(S::tanh(score), S::set(cap)) : score; }
    template <bool GUARDED>
    static V weighed(V sum, V weight, V value) {
        if constexpr (GUARDED) value = S::where_weighed(value, weight);  // else the same, to the last bit
        return S::fma(weight, value, sum);
    }

    // --- few rows -------------------------------------------------------------------------------------------
    // Halves are converted where they are used, other types of caches a block at a time.

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

    template <bool GUARDED>
    void few_rows() {
        std::fill(p_.most, p_.most + p_.rows, LOWEST);
        std::fill(p_.sum, p_.sum + p_.rows, 0.0f);
        std::fill(p_.out, p_.out + p_.rows * p_.v.size, 0.0f);
        const bool halves = p_.k.type == F16 && p_.v.type == F16;
        for (int64_t from = p_.from; from < p_.to; from += KEYS) {
            const int64_t count = open_keys(from, std::min(KEYS, p_.to - from));
            if (count == 0) continue;
            if (halves) {
                few_rows<GUARDED>(from, count, Halves{p_.k.data + from * static_cast<int64_t>(p_.k.stride), p_.k.stride},
                                  Halves{p_.v.data + from * static_cast<int64_t>(p_.v.stride), p_.v.stride});
            } else {
                convert(p_.k, from, count, k_, k_pitch_);
                convert(p_.v, from, count, v_, v_pitch_);
                few_rows<GUARDED>(from, count, Floats{k_, k_pitch_}, Floats{v_, v_pitch_});
            }
        }
    }

    // Up to the last key of a block that a row is open for: while a text is short, most of its only block is closed.
    int64_t open_keys(int64_t from, int64_t count) const {
        if (!p_.mask[0]) return count;
        int64_t open = 0;
        for (int r = 0; r < p_.rows && open < count; r = after(r)) {
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
    void few_rows(int64_t from, int64_t count, From k, From v) {
        float *scores = rest_;  // [row][KEYS]
        for (int r = 0, end; r < p_.rows; r = end) {
            end = after(r);
            const Open open = p_.mask[r] ? openness(p_.mask[r] + from, count) : Open::all;
            if (open == Open::none) continue;
            in_tiles(r, end, [&](auto rows, int i) { dots<rows.value>(i, count, k, v, scores + i * KEYS); });
            for (int i = r; i < end; i++) soften(i, from, count, open, scores + i * KEYS);
            in_tiles(r, end, [&](auto rows, int i) { weigh<rows.value, GUARDED>(i, count, v, scores + i * KEYS); });
        }
    }

    // Scores of R rows, a few keys at a time; values are asked for, as they come next.
    template <int R, class From>
    void dots(int row, int64_t count, From k, From v, float *scores) const {
        constexpr int K = W / (R == 3 ? 4 : R);
        for (int64_t key = 0; key < count; key += K) {
            V sums[W];
            int64_t keys[K];
            UNROLL for (int i = 0; i < W; i++) sums[i] = S::zero();
            UNROLL for (int i = 0; i < K; i++) v.soon(keys[i] = std::min(key + i, count - 1), p_.v.size);
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
            V s = tame(S::mul(S::load(scores + i), S::set(p_.scale)), p_.softcap);
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
        const float factor = exp(p_.most[row] - base);
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
                UNROLL for (int n = 0; n < N; n++) sums[r][n] = weighed<GUARDED>(sums[r][n], w, value[n]);
            }
        }
        UNROLL for (int r = 0; r < R; r++)
            UNROLL for (int n = 0; n < N; n++) S::store(out + r * p_.v.size + n * W, sums[r][n]);
    }

    // --- many rows ------------------------------------------------------------------------------------------
    // Tiles of 2 W rows. Of each tile: queries [d][2 W], results [d][2 W]; then weights [KEYS][2 W], of one tile.

    static constexpr int SIDE = 2 * W;
    int64_t tiles() const { return (p_.rows + SIDE - 1) / SIDE; }
    float *queries(int64_t tile) const { return rest_ + tile * SIDE * (p_.k.size + p_.v.size + 2); }
    float *results(int64_t tile) const { return queries(tile) + SIDE * p_.k.size; }
    float *mosts(int64_t tile) const { return results(tile) + SIDE * p_.v.size; }
    float *weights() const { return queries(tiles()); }
    int rows_of(int64_t tile) const { return static_cast<int>(std::min<int64_t>(SIDE, p_.rows - tile * SIDE)); }

    template <bool GUARDED>
    void many_rows() {
        for (int64_t t = 0; t < tiles(); t++) start(t);
        for (int64_t from = p_.from; from < p_.to; from += KEYS) {
            const int64_t count = std::min(KEYS, p_.to - from);
            bool converted = false;
            for (int64_t t = 0; t < tiles(); t++) {
                const Open open = open_for(t, from, count);
                if (open == Open::none) continue;
                if (!converted) {
                    convert(p_.k, from, count, k_, k_pitch_);
                    convert(p_.v, from, count, v_, v_pitch_);
                    converted = true;
                }
                if (open == Open::partly) turn_mask(t, from, count);
                rows_of(t) <= W ? tile<1, GUARDED>(t, count, open) : tile<2, GUARDED>(t, count, open);
            }
        }
        for (int64_t t = 0; t < tiles(); t++) end(t);
    }

    Open open_for(int64_t tile, int64_t from, int64_t count) const {
        const int first = static_cast<int>(tile * SIDE), last = first + rows_of(tile);
        if (!p_.mask[first]) return Open::all;
        const Open one = openness(p_.mask[first] + from, count);
        for (int r = first; one != Open::partly && r < last; r = after(r))
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
                    UNROLL for (int n = 0; n < N; n++) sums[i][n] = weighed<GUARDED>(sums[i][n], weight[n], one);
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
                    V s = tame(S::load(at), p_.softcap);
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

    const Piece &p_;
    const int64_t k_pitch_, v_pitch_;
    float *const k_, *const v_, *const mask_, *const rest_;
};

}  // namespace
}  // namespace inhouse
