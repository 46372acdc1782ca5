// Tiles of R rows x 32 columns for AVX-512 with VNNI.
//
// Per 4 k-values and 16 columns one vpdpbusd: weights (unsigned codes, one 64-byte vector) times activations
// (signed, 4 bytes broadcast from memory). R x 2 integer accumulators live in registers for one sub-block;
// after it one conversion and one multiply-add with the scale. That is 2 of 16 (sub-blocks of 32) or 2 of 8
// instructions; unpacking codes costs 1 per vpdpbusd of one row, so it is spread over R rows. From R = 4 on the
// ports of vpdpbusd and the multiply-adds are the limit (81 % of the peak for Q4_K, with its mins), at R = 1 the
// memory is: a panel is read once, from front to back, each line in its turn, which is what the processor's
// prefetching follows (out of order a core read 12 GB/s instead of 30). R = 7 and 8 spill some sums and are no
// faster in the cache, but pass over memory once where two tiles would wait for it by turns.
#include "avx512_codes.h"
#include "tiles.h"

namespace inhouse {
namespace {

// High tiles compute so long on each line that the processor's own prefetching lags: R = 8 of Q4_K took 18.6 GB/s
// of memory with two threads, with this 23.2 of the 26.4 that it takes from the L2. Low ones are slower with it.
template <const Form &F, int R>
inline void ask_ahead(const uint8_t *unit) {
    constexpr int AHEAD = 2048;
    if constexpr (F.bits < 8 && R >= (F.super ? 5 : 6))
        for (int i = 0; i < F.unit(); i += 64) _mm_prefetch(reinterpret_cast<const char *>(unit + AHEAD + i), _MM_HINT_T0);
}

template <const Form &F, int R>
inline void unit_products(const uint8_t *unit, const int8_t *row, size_t stride, __m512i table, __m512i (&sums)[R][2]) {
    ask_ahead<F, R>(unit);
    UNROLL for (int group = 0; group < 4; group++) {
        const __m512i w0 = code<F>(unit, group, 0, table), w1 = code<F>(unit, group, 1, table);
        UNROLL for (int r = 0; r < R; r++) {
            const __m512i a = spread(row + r * stride + 4 * group);
            sums[r][0] = _mm512_dpbusd_epi32(sums[r][0], w0, a);
            sums[r][1] = _mm512_dpbusd_epi32(sums[r][1], w1, a);
        }
    }
}

template <int R>
inline void begin(__m512i (&sums)[R][2], const int8_t *zeros, size_t stride, bool shifted) {
    UNROLL for (int r = 0; r < R; r++)
        sums[r][0] = sums[r][1] = shifted ? _mm512_set1_epi32(*ints(zeros + r * stride)) : _mm512_setzero_si512();
}

template <const Form &F, int R>
void blocks_of_32(const uint8_t *panel, const int8_t *row, size_t stride, const RowForm &rows, int64_t from, int64_t to,
                  float *out, size_t out_stride, int columns) {
    const __m512i table = table_of<F>();
    const uint8_t *record = panel + F.panel(from);
    const int8_t *scales = row + rows.scales() + from / 8, *zeros = row + rows.zeros() + from / 8;
    const int8_t *sums_of = row + rows.sums() + from / 8;
    __m512 total[R][2];
    UNROLL for (int r = 0; r < R; r++) total[r][0] = total[r][1] = _mm512_setzero_ps();
    for (int64_t k = from; k < to; k += 32, record += F.record(), scales += 4, zeros += 4, sums_of += 4) {
        __m512i sums[R][2];
        begin<R>(sums, zeros, stride, F.zero != 0);
        unit_products<F, R>(record, row + k, stride, table, sums);
        unit_products<F, R>(record + F.unit(), row + k + UNIT, stride, table, sums);
        const __m512 s0 = halves(record + F.codes(), F.bf16), s1 = halves(record + F.codes() + 32, F.bf16);
        UNROLL for (int r = 0; r < R; r++) {
            const __m512 a = _mm512_set1_ps(*floats(scales + r * stride));
            total[r][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[r][0]), _mm512_mul_ps(s0, a), total[r][0]);
            total[r][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[r][1]), _mm512_mul_ps(s1, a), total[r][1]);
        }
        if constexpr (F.mins) {
            const uint8_t *mins = record + F.codes() + F.scales();
            const __m512 m0 = halves(mins, false), m1 = halves(mins + 32, false);
            UNROLL for (int r = 0; r < R; r++) {
                const __m512 a = _mm512_set1_ps(*floats(sums_of + r * stride));
                total[r][0] = _mm512_fmadd_ps(m0, a, total[r][0]);
                total[r][1] = _mm512_fmadd_ps(m1, a, total[r][1]);
            }
        }
    }
    finish<R>(total, out, out_stride, columns, from != 0);
}

template <const Form &F, int R>
void blocks_of_256(const uint8_t *panel, const int8_t *row, size_t stride, const RowForm &rows, int64_t from, int64_t to,
                   float *out, size_t out_stride, int columns) {
    constexpr int SUBS = SUPER / F.sub, UNITS = F.sub / UNIT;
    const __m512i table = table_of<F>();
    const uint8_t *record = panel + F.panel(from);
    float kept[R][PANEL];  // in L1: touched once per 256 k-values
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int h = 0; h < 2; h++) _mm512_storeu_ps(kept[r] + 16 * h, _mm512_setzero_ps());
    for (int64_t k = from; k < to; k += SUPER, record += F.record()) {
        const int8_t *zeros = row + rows.zeros() + k / F.sub * 4;
        const uint8_t *scales = record + F.at_scales();
        __m512 inner[R][2];
        UNROLL for (int r = 0; r < R; r++) inner[r][0] = inner[r][1] = _mm512_setzero_ps();
        // What is needed last lies first: it is asked for in the order of memory, too.
        for (int i = 64; i < F.at_codes(); i += 64) _mm_prefetch(reinterpret_cast<const char *>(record + i), _MM_HINT_T0);
#pragma GCC unroll 1
        for (int s = 0; s < SUBS; s++) {
            __m512i sums[R][2];
            begin<R>(sums, zeros + 4 * s, stride, F.zero != 0);
            const uint8_t *unit = record + F.at_codes() + s * UNITS * F.unit();
            UNROLL for (int u = 0; u < UNITS; u++)
                unit_products<F, R>(unit + u * F.unit(), row + k + s * F.sub + u * UNIT, stride, table, sums);
            const __m512 s0 = bytes(scales + s * PANEL), s1 = bytes(scales + s * PANEL + 16);
            UNROLL for (int r = 0; r < R; r++) {
                inner[r][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[r][0]), s0, inner[r][0]);
                inner[r][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[r][1]), s1, inner[r][1]);
            }
        }
        const uint8_t *factors = scales + F.scales() + F.minima();
        __m512 d[2] = {halves(factors, false), halves(factors + 32, false)};
        UNROLL for (int r = 0; r < R; r++)
            UNROLL for (int h = 0; h < 2; h++) inner[r][h] = _mm512_mul_ps(inner[r][h], d[h]);
        if constexpr (F.mins) {
            const uint8_t *mins = scales + F.scales();
            const int8_t *sums_of = row + rows.sums() + k / F.sub * 2;
            __m512i low[R][2];
            UNROLL for (int r = 0; r < R; r++) low[r][0] = low[r][1] = _mm512_setzero_si512();
            UNROLL for (int p = 0; p < SUBS / 2; p++) {
                const auto *at = reinterpret_cast<const __m256i *>(mins + 2 * p * PANEL);
                const __m512i m0 = _mm512_cvtepu8_epi16(_mm256_loadu_si256(at)), m1 = _mm512_cvtepu8_epi16(_mm256_loadu_si256(at + 1));
                UNROLL for (int r = 0; r < R; r++) {
                    const __m512i a = spread(sums_of + r * stride + 4 * p);
                    low[r][0] = _mm512_dpwssd_epi32(low[r][0], m0, a);
                    low[r][1] = _mm512_dpwssd_epi32(low[r][1], m1, a);
                }
            }
            const __m512 dm[2] = {halves(factors + 64, false), halves(factors + 96, false)};
            UNROLL for (int r = 0; r < R; r++)
                UNROLL for (int h = 0; h < 2; h++)
                    inner[r][h] = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(low[r][h]), dm[h], inner[r][h]);
        }
        UNROLL for (int r = 0; r < R; r++) {
            const __m512 a = _mm512_set1_ps(*floats(row + r * stride + rows.scales() + k / SUPER * 4));
            UNROLL for (int h = 0; h < 2; h++)
                _mm512_storeu_ps(kept[r] + 16 * h, _mm512_fmadd_ps(inner[r][h], a, _mm512_loadu_ps(kept[r] + 16 * h)));
        }
    }
    __m512 total[R][2];
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int h = 0; h < 2; h++) total[r][h] = _mm512_loadu_ps(kept[r] + 16 * h);
    finish<R>(total, out, out_stride, columns, from != 0);
}

template <const Form &F, int R>
void tile(const uint8_t *panel, const int8_t *row, size_t stride, const RowForm &rows, int64_t from, int64_t to, float *out,
          size_t out_stride, int columns) {
    if constexpr (F.super) {
        blocks_of_256<F, R>(panel, row, stride, rows, from, to, out, out_stride, columns);
    } else {
        blocks_of_32<F, R>(panel, row, stride, rows, from, to, out, out_stride, columns);
    }
}

template <const Form &F>
struct Heights {
    static constexpr Tile all[] = {tile<F, 1>, tile<F, 2>, tile<F, 3>, tile<F, 4>, tile<F, 5>, tile<F, 6>, tile<F, 7>, tile<F, 8>};
    static constexpr Tiles value = tiles_in(all);
};

}  // namespace

extern const Kernels AVX512_VNNI{"avx512-vnni", tiles_of<Heights, plain_avx512>, quantise_avx512, false, &ATTENTION_AVX512};

}  // namespace inhouse
