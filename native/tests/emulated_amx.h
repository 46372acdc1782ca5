// The processor's matrix unit in plain C++, as its manual describes the instructions: what Amx is in src/amx_unit.h.
// It ends the program where the processor would refuse an instruction.
#pragma once

#include "../src/amx_unit.h"

#include <cfloat>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace inhouse {
namespace {

class EmulatedAmx {
    static constexpr int TILES = 8, HEIGHT = 16, WIDTH = 64;

    struct State {
        Shapes shapes;
        uint8_t tiles[TILES][HEIGHT][WIDTH] = {};
    };

    static State &state() {
        static thread_local State one;
        return one;
    }

    static int height(int tile) {
        must(state().shapes.palette == 1, "no shapes are set");
        must(state().shapes.rows[tile] > 0 && state().shapes.bytes[tile] > 0, "a register has no shape");
        return state().shapes.rows[tile];
    }
    static int width(int tile) { return height(tile) ? state().shapes.bytes[tile] : 0; }

    // C by A by B, and what there is of k; all three are others.
    static int agreed(int c, int a, int b) {
        must(c != a && c != b && a != b, "registers are the same");
        must(height(c) == height(a) && width(c) == width(b) && width(a) == 4 * height(b), "shapes do not fit");
        must(width(c) % 4 == 0, "columns are no whole numbers");
        return height(b);
    }

    static float number(const uint8_t *at) {  // of BF16; denormal ones are taken for 0
        uint16_t bits;
        std::memcpy(&bits, at, sizeof bits);
        const uint32_t wide = static_cast<uint32_t>(bits) << 16;
        float value;
        std::memcpy(&value, &wide, sizeof value);
        return flushed(value);
    }

    static float flushed(float value) { return std::fabs(value) < FLT_MIN ? std::copysign(0.0f, value) : value; }

  public:
    static void must(bool holds, const char *what) {
        if (holds) return;
        std::fprintf(stderr, "the matrix unit refuses: %s\n", what);
        std::abort();
    }

    static void shape(const Shapes &to) {
        must(to.palette <= 1, "palette");
        for (const uint8_t byte : to.unused) must(byte == 0, "unused bytes are no zeros");
        for (int t = 0; t < HEIGHT; t++) {
            must(to.rows[t] <= HEIGHT && to.bytes[t] <= WIDTH && (to.rows[t] == 0) == (to.bytes[t] == 0), "a shape is too large, or half empty");
            must(t < TILES || to.rows[t] == 0, "a register that is none");
        }
        state() = State{};  // setting shapes clears the registers
        state().shapes = to;
    }

    static void shapes(Shapes &now) { now = state().shapes; }

    template <int T>
    static void zero() {
        if (height(T) > 0) std::memset(state().tiles[T], 0, sizeof state().tiles[T]);
    }

    template <int T>
    static void load(const void *from, size_t stride) {
        zero<T>();
        for (int r = 0; r < height(T); r++)
            std::memcpy(state().tiles[T][r], static_cast<const uint8_t *>(from) + r * stride, static_cast<size_t>(width(T)));
    }

    template <int T>
    static void store(void *to, size_t stride) {
        for (int r = 0; r < height(T); r++)
            std::memcpy(static_cast<uint8_t *>(to) + r * stride, state().tiles[T][r], static_cast<size_t>(width(T)));
    }

    template <int C, int A, int B>
    static void multiply_bytes() {
        auto &tiles = state().tiles;
        const int depth = agreed(C, A, B), columns = width(C) / 4;
        for (int m = 0; m < height(C); m++) {
            int32_t sums[WIDTH / 4];
            std::memcpy(sums, tiles[C][m], sizeof sums);
            for (int k = 0; k < depth; k++)
                for (int n = 0; n < columns; n++)
                    for (int i = 0; i < 4; i++)
                        sums[n] += static_cast<int8_t>(tiles[A][m][4 * k + i]) * static_cast<int8_t>(tiles[B][k][4 * n + i]);
            std::memcpy(tiles[C][m], sums, sizeof sums);
        }
    }

    // Even and odd k-values are summed apart, each product and sum rounded once, then both to C; denormal
    // numbers are zeros wherever they come up.
    template <int C, int A, int B>
    static void multiply_bf16() {
        auto &tiles = state().tiles;
        const int depth = agreed(C, A, B), columns = width(C) / 4;
        for (int m = 0; m < height(C); m++)
            for (int n = 0; n < columns; n++) {
                float parts[2] = {0, 0}, sum;
                for (int k = 0; k < depth; k++)
                    for (int i = 0; i < 2; i++)
                        parts[i] = flushed(std::fma(number(tiles[A][m] + 4 * k + 2 * i), number(tiles[B][k] + 4 * n + 2 * i), parts[i]));
                std::memcpy(&sum, tiles[C][m] + 4 * n, sizeof sum);
                sum = flushed(flushed(sum) + flushed(parts[0] + parts[1]));
                std::memcpy(tiles[C][m] + 4 * n, &sum, sizeof sum);
            }
    }
};

}  // namespace
}  // namespace inhouse
