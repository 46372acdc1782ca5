// What the tiles for AVX2 share.
#pragma once

#include "form.h"
#include "unroll.h"

#include <immintrin.h>

namespace inhouse {
namespace {

// Sums of a tile, in the L1 while others have the registers.
template <int R>
using Totals = float[R][PANEL];

template <int R>
inline void finish(const Totals<R> &kept, float *out, size_t out_stride, int columns, bool add) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    for (int c = 0; c < columns; c += 8) {
        const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(columns - c), lanes);
        for (int r = 0; r < R; r++) {
            float *to = out + r * out_stride + c;
            __m256 v = _mm256_loadu_ps(kept[r] + c);
            if (add) v = _mm256_add_ps(v, _mm256_maskload_ps(to, mask));
            _mm256_maskstore_ps(to, mask, v);
        }
    }
}

}  // namespace
}  // namespace inhouse
