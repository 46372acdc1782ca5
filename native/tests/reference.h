// What a file's weights mean, written a second time and as plainly as can be: one weight at a time, after
// ggml-common.h (where its bits lie) and dequantize_row_* of ggml-quants.c (what they mean). It shares nothing
// with pack.cpp, so that a mistake would have to be made twice.
#pragma once

#include "check.h"

#include <cstdint>
#include <vector>

namespace reference {

// A weight is scale * code + least. Sizes of both parts bound what rounding may do to a sum of them.
struct Weight {
    double scale, code, least;
    double value() const { return scale * code + least; }
    double size() const;
};

struct Type {
    int number;
    const char *name;
    int block, bytes;           // weights and bytes of one
    std::vector<int> halves;    // where its 16-bit factors stand
    Weight (*at)(const uint8_t *block, int i);
};

const std::vector<Type> &types();
const Type &type(int number);

double half(uint16_t bits);
double bfloat16(uint16_t bits);

enum class Scales { ordinary, extreme };

// columns x k weights of the file's form, of random bits. Ordinary factors are about 0.01; extreme ones are
// any finite halves (0, denormal, negative, 65504) or as large powers of two. Weights that are BF16 are never
// denormal: vdpbf16ps takes these for 0, with the engine as with us.
std::vector<uint8_t> file(const Type &type, int64_t columns, int64_t k, Scales scales, check::Dice &dice);

// One row of activations as the kernels made it: of codes * scale per block, or of numbers.
struct Row {
    std::vector<double> values;
    std::vector<int8_t> codes;
    std::vector<float> scales;
};

struct Sum {
    double value = 0, size = 0;  // size: of all terms without their signs
    bool agrees(float found) const;
};

struct Column {
    std::vector<double> values, sizes;  // of k weights
};

Column column(const Type &type, const uint8_t *file, int64_t number, int64_t k);
Sum product(const Column &column, const Row &row);

}  // namespace reference
