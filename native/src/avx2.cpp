// Tiles of R rows x 32 columns for AVX2 with FMA and F16C; avx_vnni.cpp compiles them once more with vpdpbusd.
//
// A vector of the layout is two of ours, of 8 columns each. A tile goes through 256 k-values of one half of the
// panel (16 columns) and then of the other, so that the R x 2 sums of a sub-block have room in 16 registers; what
// is added up over more than a sub-block may be in L1.
//
//   for 4 k-values:  [codes of columns 0..7] [8..15]             unpacked once for R rows
//     for each row:  [4 activations, 8 times]                    one load for both
//                    part += vpmaddubsw(code, activation)        2 sums of 2 products for each column, int16
//   after a span:    sums += vpmaddwd(part, ones)                int32
//
// vpmaddubsw saturates, vpaddw overflows: what they add is at most 2 * 127 * the largest code, and SPAN such must
// fit. They do over all 32 k-values for 4 bits, over 16 for 5 and MXFP4, over 8 for 6, over none for 8: there the
// code's magnitude is the unsigned operand, and the activation takes its sign (2 * 128 * 127 fits).
//
// Two multipliers and three other instructions beside (a load, an addition, a share of unpacking) bound 4 bits at
// 64 products in a cycle, 8 bits (a product, its sign, vpmaddwd, an addition) at 32. Measured on Zen 4: 31 and 17,
// against 51 of AVX-512 VNNI; vpdpbusd in the same 16 registers 33 to 40. At R = 1 memory is the limit.
//
// Sums are exact and are scaled in the order of avx512.cpp, so outputs are the same to the last bit.
#include "avx2.h"
#include "tables.h"
#include "tiles.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace inhouse {
namespace {

#ifdef INHOUSE_AVX_VNNI
constexpr bool VNNI = true;
inline __m256i dot(__m256i sum, __m256i code, __m256i a) { return _mm256_dpbusd_avx_epi32(sum, code, a); }
#else
constexpr bool VNNI = false;
inline __m256i dot(__m256i sum, __m256i, __m256i) { return sum; }  // never called
#endif

alignas(16) constexpr uint8_t SHORT_FP4[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};  // twice the value + 12

// How codes are multiplied: as they are, or (8 bits) as numbers with a sign.
template <const Form &F> constexpr bool SIGNED = !VNNI && F.zero == 128 && !F.bf16;
template <const Form &F> constexpr int LARGEST = F.bf16 ? 24 : SIGNED<F> ? 128 : (1 << F.bits) - 1;
template <const Form &F> constexpr int ZERO = F.bf16 ? 12 : SIGNED<F> ? 0 : F.zero;
template <const Form &F> constexpr int FIT = 32767 / (LARGEST<F> * 2 * 127);  // pairs of products in an int16
// Groups of 4 k-values whose pairs are added up in int16.
template <const Form &F> constexpr int SPAN = VNNI || FIT<F> >= F.sub / 4 ? F.sub / 4 : FIT<F> >= 4 ? 4 : FIT<F> >= 2 ? 2 : 1;

inline __m256i load(const void *p) { return _mm256_loadu_si256(static_cast<const __m256i *>(p)); }
inline __m128i load16(const void *p) { return _mm_loadu_si128(static_cast<const __m128i *>(p)); }
inline __m256 number(const void *p) { return _mm256_broadcast_ss(static_cast<const float *>(p)); }

inline __m256i spread(const void *p) {
    int32_t four;
    std::memcpy(&four, p, 4);
    return _mm256_set1_epi32(four);
}

// 32 bits to 32 bytes of `value` or 0.
inline __m256i expanded(const uint8_t *p, int value) {
    const __m256i which = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201));
    const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(spread(p), which), bit), bit);
    return _mm256_and_si256(set, _mm256_set1_epi8(static_cast<char>(value)));
}

// Codes of 8 columns, at byte 0 or 32 of a vector of the layout, and k-values 4 group .. 4 group + 3 of a unit.
template <const Form &F>
inline __m256i code(const uint8_t *unit, int group, int half, int at) {
    if constexpr (F.bits == 8) {
        const __m256i v = load(unit + (2 * group + half) * 64 + at);
        return SIGNED<F> ? _mm256_xor_si256(v, _mm256_set1_epi8(-128)) : v;
    }
    const uint8_t *low = unit + F.high();
    __m256i v;
    if constexpr (F.bits >= 4) {
        v = load(low + (2 * (group / 2) + half) * 64 + at);
        v = _mm256_and_si256(group % 2 ? _mm256_srli_epi16(v, 4) : v, _mm256_set1_epi8(15));
    } else {
        v = _mm256_and_si256(_mm256_srli_epi16(load(low + half * 64 + at), 2 * group), _mm256_set1_epi8(3));
    }
    if constexpr (F.table) {
        __m128i table = load16(F.bf16 ? SHORT_FP4 : IQ4);
        if constexpr (SIGNED<F>) table = _mm_xor_si128(table, _mm_set1_epi8(-128));
        v = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), v);
    }
    if constexpr (F.bits == 5 || F.bits == 3)
        v = _mm256_or_si256(v, expanded(unit + (2 * group + half) * 8 + at / 8, F.bits == 5 ? 16 : 4));
    if constexpr (F.bits == 6) {
        __m256i h = load(unit + half * 64 + at);
        h = group < 2 ? _mm256_slli_epi16(h, 4 - 2 * group) : _mm256_srli_epi16(h, 2 * group - 4);
        v = _mm256_or_si256(v, _mm256_and_si256(h, _mm256_set1_epi8(0x30)));
    }
    return v;
}

using Pair = __m256i[2];  // of 8 columns each

// Here, not later: GCC would put off additions and spill what is to be added.
inline void pin(__m256i &v) { asm volatile("" : "+x"(v)); }

// Sums of one sub-block of 16 columns, given to `use` row by row.
template <const Form &F, int R, class Use>
inline void products(const uint8_t *unit, int half, const int8_t *row, size_t stride, const int8_t *zeros, Use use) {
    constexpr int HELD = std::min(2, SPAN<F>);
    Pair sums[R], part[R];
    UNROLL for (int r = 0; r < R; r++) sums[r][0] = sums[r][1] = _mm256_setzero_si256();
    UNROLL for (int g = 0; g < F.sub / 4; g += HELD) {
        Pair codes[HELD], sizes[HELD];
        UNROLL for (int i = 0; i < HELD; i++)
            UNROLL for (int w = 0; w < 2; w++) {
                codes[i][w] = code<F>(unit + (g + i) / 4 * F.unit(), (g + i) % 4, half, 32 * w);
                sizes[i][w] = SIGNED<F> ? _mm256_abs_epi8(codes[i][w]) : codes[i][w];
            }
        UNROLL for (int r = 0; r < R; r++) {
            UNROLL for (int i = 0; i < HELD; i++) {
                const __m256i a = spread(row + r * stride + 4 * (g + i));
                UNROLL for (int w = 0; w < 2; w++) {
                    if constexpr (VNNI) {
                        sums[r][w] = dot(sums[r][w], codes[i][w], a);
                    } else {
                        const __m256i with = SIGNED<F> ? _mm256_sign_epi8(a, codes[i][w]) : a;
                        const __m256i pairs = _mm256_maddubs_epi16(sizes[i][w], with);
                        part[r][w] = (g + i) % SPAN<F> ? _mm256_add_epi16(part[r][w], pairs) : pairs;
                    }
                }
            }
            if constexpr (!VNNI)
                UNROLL for (int w = 0; w < 2; w++) {
                    if ((g + HELD) % SPAN<F> == 0) {
                        sums[r][w] = _mm256_add_epi32(sums[r][w], _mm256_madd_epi16(part[r][w], _mm256_set1_epi16(1)));
                    } else {
                        pin(part[r][w]);
                    }
                }
        }
    }
    UNROLL for (int r = 0; r < R; r++) {
        int32_t zero;
        std::memcpy(&zero, zeros + r * stride, 4);
        UNROLL for (int w = 0; w < 2; w++) {
            __m256i sum = sums[r][w];
            if constexpr (ZERO<F> != 0)
                sum = _mm256_add_epi32(sum, _mm256_set1_epi32(ZERO<F> == F.zero ? zero : zero / F.zero * ZERO<F>));
            use(r, w, _mm256_cvtepi32_ps(sum));
        }
    }
}

inline __m256 halves(const uint8_t *p, bool bf16) {
    return bf16 ? _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load16(p)), 16)) : _mm256_cvtph_ps(load16(p));
}

template <const Form &F, int R>
inline void blocks_of_32(const uint8_t *record, int half, const int8_t *row, size_t stride, const RowForm &rows, int64_t k,
                         int64_t to, Totals<R> &kept) {
    __m256 total[R][2];
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int w = 0; w < 2; w++) total[r][w] = _mm256_load_ps(kept[r] + 16 * half + 8 * w);
    const int8_t *scales = row + rows.scales() + k / 8, *zeros = row + rows.zeros() + k / 8;
    const int8_t *sums_of = row + rows.sums() + k / 8;
    for (; k < to; k += 32, record += F.record(), scales += 4, zeros += 4, sums_of += 4) {
        const uint8_t *at = record + F.at_scales() + 32 * half;
        const __m256 s[2] = {halves(at, F.bf16), halves(at + 16, F.bf16)};
        products<F, R>(record, half, row + k, stride, zeros, [&](int r, int w, __m256 sum) {
            total[r][w] = _mm256_fmadd_ps(sum, _mm256_mul_ps(s[w], number(scales + r * stride)), total[r][w]);
        });
        if constexpr (F.mins) {
            const __m256 m[2] = {halves(at + F.scales(), false), halves(at + F.scales() + 16, false)};
            UNROLL for (int r = 0; r < R; r++)
                UNROLL for (int w = 0; w < 2; w++)
                    total[r][w] = _mm256_fmadd_ps(m[w], number(sums_of + r * stride), total[r][w]);
        }
    }
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int w = 0; w < 2; w++) _mm256_store_ps(kept[r] + 16 * half + 8 * w, total[r][w]);
}

inline __m256 bytes(const uint8_t *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i *>(p))));
}

template <const Form &F, int R>
inline void block_of_256(const uint8_t *record, int half, const int8_t *row, size_t stride, const RowForm &rows, int64_t k,
                         Totals<R> &kept) {
    constexpr int SUBS = SUPER / F.sub;
    const int8_t *zeros = row + rows.zeros() + k / F.sub * 4, *sums_of = row + rows.sums() + k / F.sub * 2;
    const uint8_t *scales = record + F.at_scales() + 16 * half, *mins = record + F.at_scales() + F.scales() + 32 * half;
    const uint8_t *factors = record + F.at_scales() + F.scales() + F.minima() + 32 * half;
    __m256 inner[R][2];
    UNROLL for (int r = 0; r < R; r++) inner[r][0] = inner[r][1] = _mm256_setzero_ps();
#pragma GCC unroll 1
    for (int s = 0; s < SUBS; s++) {
        const __m256 scale[2] = {bytes(scales + s * PANEL), bytes(scales + s * PANEL + 8)};
        products<F, R>(record + F.at_codes() + s * (F.sub / UNIT) * F.unit(), half, row + k + s * F.sub, stride, zeros + 4 * s,
                       [&](int r, int w, __m256 sum) { inner[r][w] = _mm256_fmadd_ps(sum, scale[w], inner[r][w]); });
    }
    UNROLL for (int w = 0; w < 2; w++) {
        const __m256 d = halves(factors + 16 * w, false);
        UNROLL for (int r = 0; r < R; r++) inner[r][w] = _mm256_mul_ps(inner[r][w], d);
        if constexpr (F.mins) {
            const __m256 dm = halves(factors + 2 * PANEL + 16 * w, false);
            __m256i low[R];
            UNROLL for (int r = 0; r < R; r++) low[r] = _mm256_setzero_si256();
            UNROLL for (int p = 0; p < SUBS / 2; p++) {
                const __m256i m = _mm256_cvtepu8_epi16(load16(mins + 2 * p * PANEL + 16 * w));
                UNROLL for (int r = 0; r < R; r++)
                    low[r] = _mm256_add_epi32(low[r], _mm256_madd_epi16(m, spread(sums_of + r * stride + 4 * p)));
            }
            UNROLL for (int r = 0; r < R; r++) inner[r][w] = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(low[r]), dm, inner[r][w]);
        }
        UNROLL for (int r = 0; r < R; r++) {
            float *to = kept[r] + 16 * half + 8 * w;
            const __m256 a = number(row + r * stride + rows.scales() + k / SUPER * 4);
            _mm256_store_ps(to, _mm256_fmadd_ps(inner[r][w], a, _mm256_load_ps(to)));
        }
    }
}

template <const Form &F, int R>
void tile(const uint8_t *panel, const int8_t *row, size_t stride, const RowForm &rows, int64_t from, int64_t to, float *out,
          size_t out_stride, int columns) {
    alignas(64) Totals<R> kept{};
    for (int64_t k = from; k < to; k += SUPER) {
        const uint8_t *record = panel + F.panel(k);
        // In the order of memory, see avx512.cpp.
        for (int i = 0; i < F.at_codes(); i += 64) _mm_prefetch(reinterpret_cast<const char *>(record + i), _MM_HINT_T0);
        for (int half = 0; half < 2; half++) {
            if constexpr (F.super) {
                block_of_256<F, R>(record, half, row, stride, rows, k, kept);
            } else {
                blocks_of_32<F, R>(record, half, row, stride, rows, k, std::min<int64_t>(to, k + SUPER), kept);
            }
        }
    }
    finish<R>(kept, out, out_stride, columns, from != 0);
}

template <const Form &F>
struct Heights {
    static constexpr Tile all[] = {tile<F, 1>, tile<F, 2>, tile<F, 3>, tile<F, 4>, tile<F, 5>, tile<F, 6>};
    static constexpr Tiles value = tiles_in(all);
};

inline __m256 magnitude(__m256 v) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v); }

// The same codes, scales and sums as avx512.cpp makes.
void quantise(const RowForm &form, const float *x, int8_t *to) {
    if (form.row != Row::codes) return keep_floats(form, x, to);
    auto *scales = reinterpret_cast<float *>(to + form.scales());
    auto *zeros = reinterpret_cast<int32_t *>(to + form.zeros());
    const __m256 infinite = _mm256_set1_ps(std::numeric_limits<float>::infinity());
    for (int64_t b = 0; b < form.k / form.block; b++) {
        const float *from = x + b * form.block;
        __m256 most = _mm256_setzero_ps(), odd = _mm256_setzero_ps();
        for (int i = 0; i < form.block; i += 8) {
            const __m256 v = magnitude(_mm256_loadu_ps(from + i));
            odd = _mm256_or_ps(odd, _mm256_cmp_ps(v, infinite, _CMP_NLT_UQ));  // NaN or infinite
            most = _mm256_max_ps(most, v);
        }
        const bool strange = _mm256_movemask_ps(odd) != 0;
        __m128 four = _mm_max_ps(_mm256_castps256_ps128(most), _mm256_extractf128_ps(most, 1));
        four = _mm_max_ps(four, _mm_movehl_ps(four, four));
        const float largest = _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
        const bool any = !strange && largest >= NOTHING;
        scales[b] = strange ? NAN : any ? largest / 127 : 0;
        const __m256 by = _mm256_set1_ps(any ? 127 / largest : 0);
        for (int s = 0; s < form.block / form.sub; s++) {
            __m256i sum = _mm256_setzero_si256();
            for (int i = s * form.sub; i < (s + 1) * form.sub; i += 16) {
                const auto rounded = [&](int at) {
                    return _mm256_cvtps_epi32(_mm256_mul_ps(strange ? _mm256_setzero_ps() : _mm256_loadu_ps(from + at), by));
                };
                const __m256i low = rounded(i), high = rounded(i + 8);
                sum = _mm256_add_epi32(sum, _mm256_add_epi32(low, high));
                const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
                const __m128i codes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
                _mm_storeu_si128(reinterpret_cast<__m128i *>(to + b * form.block + i), codes);
            }
            __m128i parts = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
            parts = _mm_add_epi32(parts, _mm_srli_si128(parts, 8));
            const int total = _mm_cvtsi128_si32(_mm_add_epi32(parts, _mm_srli_si128(parts, 4)));
            const int64_t at = b * (form.block / form.sub) + s;
            zeros[at] = -form.zero * total;
            if (!form.mins) continue;
            if (form.super) {
                reinterpret_cast<int16_t *>(to + form.sums())[at] = static_cast<int16_t>(total);
            } else {
                reinterpret_cast<float *>(to + form.sums())[at] = scales[b] * static_cast<float>(total);
            }
        }
    }
}

}  // namespace

#ifdef INHOUSE_AVX_VNNI
extern const Kernels AVX_VNNI{"avx-vnni", tiles_of<Heights, plain_avx2>, quantise, false, &ATTENTION_AVX2};
#else
extern const Kernels AVX2{"avx2", tiles_of<Heights, plain_avx2>, quantise, false, &ATTENTION_AVX2};
#endif

}  // namespace inhouse
