// Any number of rows x 32 columns of BF16 weights with the matrix unit: `Unit` is Amx, or a tests' imitation of it.
//
//   for 32 rows:             4 registers of sums, 2 of rows (A), 2 of weights (B) as they lie in the panel: nothing to unpack
//     for 32 k-values:       4 loads, 4 products of 16 x 16 x 32
//
// The last k-values of a piece, if fewer than 32, are filled up with zeros. By what is published a product takes 16
// cycles, 16 times less than with vdpbf16ps at one a cycle; four loads of 8 cycles lie beside four products. Never measured.
// A product sums even and odd k-values apart before it adds to C, so the last bits differ from vdpbf16ps's.
#pragma once

#include "amx_unit.h"
#include "avx512.h"
#include "form.h"

#include <algorithm>
#include <cstring>

namespace inhouse {
namespace {

template <class Unit>
class AmxBf16 {
    static constexpr int HEIGHT = 16, STEP = 32;
    enum { C00, C01, C10, C11, A0, A1, B0, B1 };  // registers, C by rows and columns

    template <bool TWO>
    static void step(const int8_t *upper, const int8_t *lower, size_t stride, const uint8_t *weights) {
        Unit::template load<A0>(upper, stride);
        Unit::template load<B0>(weights, 2 * 64);
        Unit::template load<B1>(weights + 64, 2 * 64);
        if constexpr (TWO) Unit::template load<A1>(lower, stride);
        Unit::template multiply_bf16<C00, A0, B0>();
        Unit::template multiply_bf16<C01, A0, B1>();
        if constexpr (TWO) {
            Unit::template multiply_bf16<C10, A1, B0>();
            Unit::template multiply_bf16<C11, A1, B1>();
        }
    }

    // Up to 16 rows, or with TWO up to 32.
    template <bool TWO>
    static void rows_of(const uint8_t *panel, const int8_t *row, size_t stride, int64_t from, int64_t to, float *out, size_t out_stride,
                        int columns, int count) {
        const int heights[2] = {std::min(count, HEIGHT), TWO ? count - HEIGHT : 0};
        Shapes shapes;
        for (const int h : {0, 1}) {
            for (const int half : {0, 1}) shapes.set(C00 + 2 * h + half, heights[h], 64);
            shapes.set(A0 + h, heights[h], 64);
            shapes.set(B0 + h, STEP / 2, 64);
        }
        const Shaped<Unit> shaped(shapes);
        Unit::template zero<C00>();
        Unit::template zero<C01>();
        if constexpr (TWO) Unit::template zero<C10>(), Unit::template zero<C11>();
        int64_t k = from;
        for (; k + STEP <= to; k += STEP) step<TWO>(row + 2 * k, row + (TWO ? HEIGHT * stride : 0) + 2 * k, stride, panel + k * PANEL * 2);
        if (k < to) {
            alignas(64) int8_t x[2 * HEIGHT][64] = {};
            alignas(64) uint8_t weights[STEP * PANEL * 2] = {};
            for (int r = 0; r < count; r++) std::memcpy(x[r], row + r * stride + 2 * k, static_cast<size_t>(to - k) * 2);
            std::memcpy(weights, panel + k * PANEL * 2, static_cast<size_t>(to - k) * PANEL * 2);
            step<TWO>(x[0], x[HEIGHT], 64, weights);
        }
        alignas(64) float sums[2 * HEIGHT][PANEL];
        Unit::template store<C00>(sums[0], sizeof sums[0]);
        Unit::template store<C01>(sums[0] + 16, sizeof sums[0]);
        if constexpr (TWO) {
            Unit::template store<C10>(sums[HEIGHT], sizeof sums[0]);
            Unit::template store<C11>(sums[HEIGHT] + 16, sizeof sums[0]);
        }
        for (int r = 0; r < count; r++) {
            const __m512 total[1][2] = {{_mm512_load_ps(sums[r]), _mm512_load_ps(sums[r] + 16)}};
            finish<1>(total, out + r * out_stride, out_stride, columns, from != 0);
        }
    }

  public:
    static void tall(const uint8_t *panel, const int8_t *row, size_t stride, const RowForm &, int64_t from, int64_t to, float *out,
                     size_t out_stride, int columns, int64_t count) {
        for (int64_t r = 0; r < count; r += 2 * HEIGHT) {
            const int some = static_cast<int>(std::min<int64_t>(2 * HEIGHT, count - r));
            (some > HEIGHT ? rows_of<true> : rows_of<false>)(panel, row + r * stride, stride, from, filled(to), out + r * out_stride, out_stride, columns, some);
        }
    }
};

}  // namespace
}  // namespace inhouse
