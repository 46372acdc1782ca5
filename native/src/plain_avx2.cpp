// Tiles of R rows x 32 columns of F16 or BF16 weights and rows of floats, for AVX2 with FMA and F16C.
//
// As in plain_avx512.cpp with vectors of 8 columns. In 16 registers there is room for 6 rows x 16 columns: a tile
// goes through 256 k-values of one half of the panel (its 16 KiB stay in the L1) and then of the other. Up to
// 2 rows have all 32 columns at once, so that memory is read from front to back.
//
//   for each k:   [8 weights] x W                   vcvtph2ps; of BF16 a shift or a mask
//   for each row: [x[k], 8 times]                   one load for W vfmadd231ps
//
// Two multiply-adds of 8 in a cycle are the limit: 16 products, as many as AVX-512 where it has but one.
#include "avx2.h"
#include "tiles.h"

#include <algorithm>

namespace inhouse {
namespace {

// Weights of 8 columns, the `v`-th eight of the panel, of k-value `i` of a QUAD.
template <bool BF16>
inline __m256 eight(const uint8_t *at, int i, int v) {
    if constexpr (!BF16) return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(at + 64 * i + 16 * v)));
    const __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(at + 128 * (i / 2) + 32 * v));
    return _mm256_castsi256_ps(i % 2 ? _mm256_and_si256(both, _mm256_set1_epi32(static_cast<int>(0xffff0000))) : _mm256_slli_epi32(both, 16));
}

// W vectors from the `first`-th on.
template <bool BF16, int R, int W>
inline void part(const uint8_t *at, int first, const int8_t *row, size_t stride, int64_t k, int64_t to, Totals<R> &kept) {
    __m256 sums[R][W];
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int v = 0; v < W; v++) sums[r][v] = _mm256_load_ps(kept[r] + 8 * (first + v));
    for (; k < to; k += QUAD, at += QUAD * PANEL * 2) {
        UNROLL for (int i = 0; i < QUAD; i++) {
            if constexpr (BF16) asm volatile("" : "+r"(at));  // both k-values of a vector loaded at once would have no room
            __m256 w[W];
            UNROLL for (int v = 0; v < W; v++) w[v] = eight<BF16>(at, i, first + v);
            UNROLL for (int r = 0; r < R; r++) {
                const __m256 x = _mm256_broadcast_ss(reinterpret_cast<const float *>(row + r * stride) + k + i);
                UNROLL for (int v = 0; v < W; v++) sums[r][v] = _mm256_fmadd_ps(w[v], x, sums[r][v]);
            }
        }
    }
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int v = 0; v < W; v++) _mm256_store_ps(kept[r] + 8 * (first + v), sums[r][v]);
}

template <bool BF16, int R>
void tile(const uint8_t *panel, const int8_t *row, size_t stride, const RowForm &, int64_t from, int64_t to, float *out,
          size_t out_stride, int columns) {
    constexpr int W = R <= 2 ? 4 : 2;
    alignas(64) Totals<R> kept{};
    for (int64_t k = from; k < to; k += SUPER)
        for (int first = 0; first < 4; first += W)
            part<BF16, R, W>(panel + k * PANEL * 2, first, row, stride, k, std::min(to, k + SUPER), kept);
    finish<R>(kept, out, out_stride, columns, from != 0);
}

template <bool BF16>
constexpr Tile ALL[] = {tile<BF16, 1>, tile<BF16, 2>, tile<BF16, 3>, tile<BF16, 4>, tile<BF16, 5>, tile<BF16, 6>};

}  // namespace

Tiles plain_avx2(int type) { return type == 1 ? tiles_in(ALL<false>) : type == 30 ? tiles_in(ALL<true>) : Tiles{}; }

}  // namespace inhouse
