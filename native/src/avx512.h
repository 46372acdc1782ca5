// What the tiles for AVX-512 share.
#pragma once

#include "unroll.h"

#include <cstddef>

#include <immintrin.h>

namespace inhouse {
namespace {

// Inlined always: a call would take the sums through memory, which costs a single row a tenth.
template <int R>
__attribute__((always_inline)) inline void finish(const __m512 (&total)[R][2], float *out, size_t out_stride, int columns, bool add) {
    const __mmask16 masks[2] = {static_cast<__mmask16>(columns >= 16 ? 0xffff : (1 << columns) - 1),
                                static_cast<__mmask16>(columns >= 32 ? 0xffff : columns > 16 ? (1 << (columns - 16)) - 1 : 0)};
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int h = 0; h < 2; h++) {
            float *to = out + r * out_stride + 16 * h;
            __m512 v = total[r][h];
            if (add) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(masks[h], to));
            _mm512_mask_storeu_ps(to, masks[h], v);
        }
}

}  // namespace
}  // namespace inhouse
