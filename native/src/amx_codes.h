// Any number of rows x 32 columns of codes with the matrix unit: `Unit` is Amx, or a tests' imitation of it.
//
//   for 256 k-values:    unpack codes, scales and mins of 32 columns    8 + 3 KiB in the L1, for up to 96 rows
//     for 16 rows:
//       for 16 columns:  16 sums of floats in registers
//         for a scale's k-values:  C = A x B (16 x 16 integers), stored and, while the unit computes the next,
//                                  converted, multiplied by the scale and added in AVX-512
//
// Codes become signed as they are unpacked (code - zero), which is the same sum as with a correction afterwards.
// Floats are computed as in avx512.cpp, one for one: both have the same results, to the last bit.
//
// Roofline, from what is published for Sapphire Rapids: 16 x 16 x 32 products take the unit 16 cycles (a scale's 32
// k-values fill half of it, 16 a fourth) and AVX-512 VNNI 64, at two vpdpbusd a cycle. Beside them come, in both, 16
// conversions and as many or twice as many multiplications: 16 to 24 cycles at two a cycle. Here these are the limit, with
// 56 lines loaded (28 cycles): about 30 cycles of 90. It was never measured.
#pragma once

#include "amx_unit.h"
#include "avx512_codes.h"
#include "tiles.h"

#include <algorithm>

namespace inhouse {
namespace {

template <int R, class Do>
__attribute__((always_inline)) inline void each_row(int count, Do part) {
    if constexpr (R != 0) {
        UNROLL for (int r = 0; r < R; r++) part(r);
    } else {
        for (int r = 0; r < count; r++) part(r);
    }
}

template <class Unit, const Form &F>
class AmxCodes {
    static constexpr int HEIGHT = 16, MOST = 96, CHUNK = 256, SUBS = CHUNK / F.sub, LINES = F.sub / 4;
    enum { C0, C1, A, B, LAST_C0, LAST_C1, LAST_A };  // registers; the last rows are fewer than 16

    struct alignas(64) Part {  // 256 k-values of a panel
        uint8_t codes[SUBS][2][LINES][64];
        float scales[SUBS][2][16];
        uint8_t mins[SUBS][2][64];  // floats; of blocks of 256 int16 for two sub-blocks, and half as many
        float factors[2][2][16];
    };

    static void unpack(const uint8_t *record, int subs, Part &to) {
        const __m512i table = table_of<F>(), zero = _mm512_set1_epi8(static_cast<char>(F.zero));
        for (int s = 0; s < subs; s++) {
            const uint8_t *at = F.super ? record : record + s * F.record();
            const uint8_t *unit = F.super ? record + F.at_codes() + s * (F.sub / UNIT) * F.unit() : at;
            for (int u = 0; u < F.sub / UNIT; u++)
                UNROLL for (int group = 0; group < 4; group++)
                    UNROLL for (int h = 0; h < 2; h++)
                        _mm512_store_si512(to.codes[s][h][4 * u + group], _mm512_sub_epi8(code<F>(unit + u * F.unit(), group, h, table), zero));
            UNROLL for (int h = 0; h < 2; h++) {
                if constexpr (F.super) {
                    _mm512_store_ps(to.scales[s][h], bytes(at + s * PANEL + 16 * h));
                } else {
                    const uint8_t *scales = at + F.at_scales() + 32 * h;
                    _mm512_store_ps(to.scales[s][h], halves(scales, F.bf16));
                    if constexpr (F.mins) _mm512_store_ps(to.mins[s][h], halves(scales + F.scales(), false));
                }
            }
        }
        if constexpr (F.super) {
            const uint8_t *mins = record + F.scales(), *factors = mins + F.minima();
            for (int i = 0; i < (F.mins ? 4 : 2); i++) _mm512_store_ps(to.factors[i / 2][i % 2], halves(factors + 32 * i, false));
            for (int i = 0; F.mins && i < SUBS; i++)
                _mm512_store_si512(to.mins[i / 2][i % 2], _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(mins) + i)));
        }
    }

    // Two sets of registers in turn, so that a product need not wait for the one before.
    template <int C, int A_>
    static void multiply(const int8_t *row, size_t stride, const uint8_t *codes, int32_t (*to)[16]) {
        Unit::template zero<C>();
        Unit::template load<A_>(row, stride);
        Unit::template load<B>(codes, 64);
        Unit::template multiply_bytes<C, A_, B>();
        Unit::template store<C>(to, 64);
    }

    // 16 rows (R = 16), or the last `count` (R = 0), over one piece of K.
    template <int R>
    static void rows_of(const Part &part, int subs, int half, const int8_t *row, size_t stride, const RowForm &rows, int64_t k,
                        float (*kept)[PANEL], int count, bool first) {
        constexpr bool LAST = R == 0;
        alignas(64) int32_t sums[2][HEIGHT][16];
        const auto products = [&](int s) {
            const int8_t *from = row + k + s * F.sub;
            if (s % 2) multiply<LAST ? LAST_C1 : C1, LAST ? LAST_A : A>(from, stride, part.codes[s][half][0], sums[1]);
            else multiply<LAST ? LAST_C0 : C0, LAST ? LAST_A : A>(from, stride, part.codes[s][half][0], sums[0]);
        };
        const int8_t *scales = row + rows.scales() + k / F.block() * 4, *sums_of = row + rows.sums() + k / F.sub * (F.super ? 2 : 4);
        const auto scale_of = [&](int r, int s) { return _mm512_set1_ps(floats(scales + r * stride)[s]); };
        const auto kept_of = [&](int r) { return first ? _mm512_setzero_ps() : _mm512_load_ps(kept[r] + 16 * half); };
        __m512 total[HEIGHT];
        each_row<R>(count, [&](int r) { total[r] = F.super ? _mm512_setzero_ps() : kept_of(r); });
        products(0);
#pragma GCC unroll 1
        for (int s = 0; s < subs; s++) {
            if (s + 1 < subs) products(s + 1);
            const __m512 scale = _mm512_load_ps(part.scales[s][half]);
            each_row<R>(count, [&](int r) {
                const __m512 by = F.super ? scale : _mm512_mul_ps(scale, scale_of(r, F.super ? 0 : s));
                total[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_load_si512(sums[s % 2][r])), by, total[r]);
            });
            if constexpr (F.mins && !F.super) {
                const __m512 least = _mm512_load_ps(part.mins[s][half]);
                each_row<R>(count, [&](int r) {
                    total[r] = _mm512_fmadd_ps(least, _mm512_set1_ps(floats(sums_of + r * stride)[s]), total[r]);
                });
            }
        }
        if constexpr (F.super) {
            const __m512 factor = _mm512_load_ps(part.factors[0][half]), least = _mm512_load_ps(part.factors[F.mins][half]);
            each_row<R>(count, [&](int r) {
                __m512 sum = _mm512_mul_ps(total[r], factor);
                if constexpr (F.mins) {
                    __m512i low = _mm512_setzero_si512();
                    UNROLL for (int p = 0; p < SUBS / 2; p++)
                        low = _mm512_dpwssd_epi32(low, _mm512_load_si512(part.mins[p][half]), spread(sums_of + r * stride + 4 * p));
                    sum = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(low), least, sum);
                }
                total[r] = _mm512_fmadd_ps(sum, scale_of(r, 0), kept_of(r));
            });
        }
        each_row<R>(count, [&](int r) { _mm512_store_ps(kept[r] + 16 * half, total[r]); });
    }

    static void some(const uint8_t *panel, const int8_t *row, size_t stride, const RowForm &rows, int64_t from, int64_t to, float *out,
                     size_t out_stride, int columns, int count) {
        const int last = count % HEIGHT, whole = count - last;
        Shapes shapes;
        for (const int c : {C0, C1}) shapes.set(c, HEIGHT, 64);
        for (const int c : {LAST_C0, LAST_C1}) shapes.set(c, last, 64);
        shapes.set(A, HEIGHT, F.sub);
        shapes.set(LAST_A, last, F.sub);
        shapes.set(B, LINES, 64);
        const Shaped<Unit> shaped(shapes);
        alignas(64) float kept[MOST][PANEL];
        Part part;
        for (int64_t k = from; k < to; k += CHUNK) {
            const int subs = static_cast<int>(std::min<int64_t>(CHUNK, to - k)) / F.sub;
            unpack(panel + F.panel(k), subs, part);
            for (int half = 0; half < 2; half++) {
                for (int r = 0; r < whole; r += HEIGHT) rows_of<HEIGHT>(part, subs, half, row + r * stride, stride, rows, k, kept + r, HEIGHT, k == from);
                if (last) rows_of<0>(part, subs, half, row + whole * stride, stride, rows, k, kept + whole, last, k == from);
            }
        }
        for (int r = 0; r < count; r++) {
            const __m512 total[1][2] = {{_mm512_load_ps(kept[r]), _mm512_load_ps(kept[r] + 16)}};
            finish<1>(total, out + r * out_stride, out_stride, columns, from != 0);
        }
    }

  public:
    static void tall(const uint8_t *panel, const int8_t *row, size_t stride, const RowForm &rows, int64_t from, int64_t to, float *out,
                     size_t out_stride, int columns, int64_t count) {
        for (int64_t r = 0; r < count; r += MOST)
            some(panel, row + r * stride, stride, rows, from, to, out + r * out_stride, out_stride, columns,
                 static_cast<int>(std::min<int64_t>(MOST, count - r)));
    }
};

}  // namespace
}  // namespace inhouse
