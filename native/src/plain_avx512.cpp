// Tiles of R rows x 32 columns of F16 or BF16 weights and rows of floats for AVX-512.
//
//   F16,  k:      [16 halves] [16 halves]         two vcvtph2ps, each from memory
//   BF16, k, k+1: [16 x (k, k+1)] [16 x (k, k+1)] k is a shift of 16 bits, k + 1 a mask
//   for each row: [x[k], 16 times]                one load for two vfmadd231ps
//
// 16 columns x R rows: R x 2 sums in registers through all of K. Of 12 multiply-adds and 2 conversions at R = 6
// only the multiply-adds use their ports, so these are the limit: 32 products in a cycle on Zen 4, a fourth
// of vpdpbusd. At R = 1 memory is: 64 bytes for 32 products; sums of four k-values are kept apart, as one
// chain of additions would take 4 cycles for each.
#include "avx512.h"
#include "tiles.h"

namespace inhouse {
namespace {

using Pair = __m512[2];  // of 16 columns each

// Weights of the k-values 2 i and 2 i + 1 of a QUAD.
template <bool BF16>
inline void two(const uint8_t *at, Pair (&w)[2]) {
    UNROLL for (int h = 0; h < 2; h++) {
        if constexpr (BF16) {
            const __m512i both = _mm512_loadu_si512(at + 64 * h);
            w[0][h] = _mm512_castsi512_ps(_mm512_slli_epi32(both, 16));
            w[1][h] = _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32(static_cast<int>(0xffff0000))));
        } else {
            UNROLL for (int k = 0; k < 2; k++)
                w[k][h] = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(at + 64 * k + 32 * h)));
        }
    }
}

template <bool BF16, int R>
void tile(const uint8_t *panel, const int8_t *row, size_t stride, const RowForm &, int64_t from, int64_t to, float *out,
          size_t out_stride, int columns) {
    constexpr int CHAINS = R == 1 ? QUAD : R == 2 ? 2 : 1;
    __m512 sums[CHAINS][R][2];
    UNROLL for (int c = 0; c < CHAINS; c++)
        UNROLL for (int r = 0; r < R; r++) sums[c][r][0] = sums[c][r][1] = _mm512_setzero_ps();
    const uint8_t *at = panel + from * PANEL * 2;
    for (int64_t k = from; k < to; k += QUAD, at += QUAD * PANEL * 2) {
        UNROLL for (int i = 0; i < QUAD; i += 2) {
            Pair w[2];
            two<BF16>(at + i * PANEL * 2, w);
            UNROLL for (int j = 0; j < 2; j++)
                UNROLL for (int r = 0; r < R; r++) {
                    const __m512 x = _mm512_set1_ps(reinterpret_cast<const float *>(row + r * stride)[k + i + j]);
                    auto &sum = sums[(i + j) % CHAINS][r];
                    UNROLL for (int h = 0; h < 2; h++) sum[h] = _mm512_fmadd_ps(w[j][h], x, sum[h]);
                }
        }
    }
    UNROLL for (int c = CHAINS / 2; c > 0; c /= 2)
        UNROLL for (int i = 0; i < c; i++)
            UNROLL for (int r = 0; r < R; r++)
                UNROLL for (int h = 0; h < 2; h++) sums[i][r][h] = _mm512_add_ps(sums[i][r][h], sums[i + c][r][h]);
    finish<R>(sums[0], out, out_stride, columns, from != 0);
}

template <bool BF16>
constexpr Tile ALL[] = {tile<BF16, 1>, tile<BF16, 2>, tile<BF16, 3>, tile<BF16, 4>, tile<BF16, 5>, tile<BF16, 6>, tile<BF16, 7>, tile<BF16, 8>, tile<BF16, 9>, tile<BF16, 10>, tile<BF16, 11>, tile<BF16, 12>};

}  // namespace

Tiles plain_avx512(int type) { return type == 1 ? tiles_in(ALL<false>) : type == 30 ? tiles_in(ALL<true>) : Tiles{}; }

}  // namespace inhouse
