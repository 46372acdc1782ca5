// Tiles of R rows x 32 columns of BF16 weights and rows rounded to BF16, for AVX-512 with BF16.
//
//   k, k + 1:     [16 x (k, k+1)] [16 x (k, k+1)]   as they lie in memory
//   for each row: [x[k], x[k+1], 16 times]          one load for two vdpbf16ps, of 32 products each
//
// Nothing is unpacked: of the instructions at R = 6 two of three multiply, and they are the limit. At R = 1 memory
// is. The engine rounds its rows in the same way. vdpbf16ps takes numbers below 1.2e-38 for 0.
#include "avx512.h"
#include "tiles.h"

#include <cstring>

namespace inhouse {

extern const Kernels AVX512_VNNI;

namespace {

inline __m512bh numbers(__m512i v) { return (__m512bh)v; }  // the compilers' type has changed

inline __m512bh spread(const int8_t *p) {
    int32_t both;
    std::memcpy(&both, p, 4);
    return numbers(_mm512_set1_epi32(both));
}

template <int R>
void tile(const uint8_t *panel, const int8_t *row, size_t stride, const RowForm &, int64_t from, int64_t to, float *out,
          size_t out_stride, int columns) {
    constexpr int CHAINS = R <= 2 ? 2 : 1;  // an instruction takes 6 cycles
    __m512 sums[CHAINS][R][2];
    UNROLL for (int c = 0; c < CHAINS; c++)
        UNROLL for (int r = 0; r < R; r++) sums[c][r][0] = sums[c][r][1] = _mm512_setzero_ps();
    const uint8_t *at = panel + from * PANEL * 2;
    for (int64_t k = from; k < to; k += QUAD, at += QUAD * PANEL * 2) {
        UNROLL for (int i = 0; i < QUAD / 2; i++) {
            const __m512bh w[2] = {numbers(_mm512_loadu_si512(at + 128 * i)), numbers(_mm512_loadu_si512(at + 128 * i + 64))};
            UNROLL for (int r = 0; r < R; r++) {
                const __m512bh x = spread(row + r * stride + 2 * k + 4 * i);
                UNROLL for (int h = 0; h < 2; h++) sums[i % CHAINS][r][h] = _mm512_dpbf16_ps(sums[i % CHAINS][r][h], w[h], x);
            }
        }
    }
    if constexpr (CHAINS == 2)
        UNROLL for (int r = 0; r < R; r++)
            UNROLL for (int h = 0; h < 2; h++) sums[0][r][h] = _mm512_add_ps(sums[0][r][h], sums[1][r][h]);
    finish<R>(sums[0], out, out_stride, columns, from != 0);
}

constexpr Tile ALL[] = {tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>, tile<7>, tile<8>, tile<9>, tile<10>, tile<11>, tile<12>};

Tiles tiles(int type) { return type == 30 ? tiles_in(ALL) : AVX512_VNNI.tiles(type); }

void quantise(const RowForm &form, const float *x, int8_t *to) {
    if (form.row != Row::bf16) return AVX512_VNNI.quantise(form, x, to);
    for (int64_t k = 0; k < filled(form.k); k += 16) {
        const int64_t left = form.k - k, room = filled(form.k) - k;
        const auto some = [](int64_t n) { return static_cast<__mmask16>(n >= 16 ? 0xffff : n <= 0 ? 0 : (1 << n) - 1); };
        const __m256i rounded = (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(some(left), x + k));
        _mm256_mask_storeu_epi16(to + 2 * k, some(room), rounded);
    }
}

}  // namespace

extern const Kernels AVX512_BF16{"avx512-bf16", tiles, quantise, true, &ATTENTION_AVX512};

}  // namespace inhouse
