#include "reference.h"

#include <cmath>
#include <cstring>

namespace reference {
namespace {

constexpr int IQ4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
constexpr int FP4[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

double half_at(const uint8_t *p) { return half(static_cast<uint16_t>(p[0] | p[1] << 8)); }

int bit(const uint8_t *p, int i) { return p[i / 8] >> (i % 8) & 1; }

// 32 weights in 16 bytes: weight i is the low nibble of byte i, weight 16 + i the high one.
int nibble(const uint8_t *p, int i) { return i < 16 ? p[i] % 16 : p[i - 16] / 16; }

Weight q4_0(const uint8_t *b, int i) { return {half_at(b), nibble(b + 2, i) - 8.0, 0}; }
Weight q4_1(const uint8_t *b, int i) { return {half_at(b), nibble(b + 4, i) * 1.0, half_at(b + 2)}; }
Weight q5_0(const uint8_t *b, int i) { return {half_at(b), nibble(b + 6, i) + 16 * bit(b + 2, i) - 16.0, 0}; }
Weight q5_1(const uint8_t *b, int i) { return {half_at(b), nibble(b + 8, i) + 16.0 * bit(b + 4, i), half_at(b + 2)}; }
Weight q8_0(const uint8_t *b, int i) { return {half_at(b), static_cast<double>(static_cast<int8_t>(b[2 + i])), 0}; }
Weight iq4_nl(const uint8_t *b, int i) { return {half_at(b), IQ4[nibble(b + 2, i)] * 1.0, 0}; }
Weight mxfp4(const uint8_t *b, int i) { return {std::ldexp(1.0, b[0] - 128), FP4[nibble(b + 1, i)] * 1.0, 0}; }

// The 6-bit scale and min of sub-block j in 12 bytes: the first four lie in the low 6 bits of bytes 0..3 and
// 4..7; of the others the low 4 bits in the nibbles of bytes 8..11 and the high 2 atop of the first eight bytes.
int scale_of(const uint8_t *p, int j) { return j < 4 ? p[j] % 64 : p[j + 4] % 16 + p[j - 4] / 64 * 16; }
int min_of(const uint8_t *p, int j) { return j < 4 ? p[j + 4] % 64 : p[j + 4] / 16 + p[j] / 64 * 16; }

// Sub-blocks of 32 lie in pairs in 32 bytes: the first in the low nibbles, the second in the high ones.
int paired(const uint8_t *p, int i) {
    const int byte = p[i / 64 * 32 + i % 32];
    return i / 32 % 2 == 0 ? byte % 16 : byte / 16;
}

// Weights of 2 bits: 128 in 32 bytes, four times 32 one above the other.
int two_bits(const uint8_t *p, int i) { return p[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3; }

Weight q2_K(const uint8_t *b, int i) {
    const int both = b[i / 16];
    return {half_at(b + 80) * (both % 16), two_bits(b + 16, i) * 1.0, -half_at(b + 82) * (both / 16)};
}

Weight q3_K(const uint8_t *b, int i) {
    const uint8_t *scales = b + 96;
    const int j = i / 16, low = j < 8 ? scales[j] % 16 : scales[j - 8] / 16, high = scales[8 + j % 4] >> (j / 4 * 2) & 3;
    const int top = b[i % 32] >> (i / 32) & 1;
    return {half_at(b + 108) * (low + 16 * high - 32), two_bits(b + 32, i) - (top ? 0.0 : 4.0), 0};
}

Weight q4_K(const uint8_t *b, int i) {
    const int j = i / 32;
    return {half_at(b) * scale_of(b + 4, j), paired(b + 16, i) * 1.0, -half_at(b + 2) * min_of(b + 4, j)};
}

Weight q5_K(const uint8_t *b, int i) {
    const int j = i / 32, top = b[16 + i % 32] >> j & 1;
    return {half_at(b) * scale_of(b + 4, j), paired(b + 48, i) + 16.0 * top, -half_at(b + 2) * min_of(b + 4, j)};
}

Weight q6_K(const uint8_t *b, int i) {
    const int byte = b[i / 128 * 64 + i % 64], low = i / 64 % 2 == 0 ? byte % 16 : byte / 16;
    const int scale = static_cast<int8_t>(b[192 + i / 16]);
    return {half_at(b + 208) * scale, low + 16 * two_bits(b + 128, i) - 32.0, 0};
}

Weight f16(const uint8_t *b, int) { return {half_at(b), 1, 0}; }
Weight bf16(const uint8_t *b, int) { return {bfloat16(static_cast<uint16_t>(b[0] | b[1] << 8)), 1, 0}; }

Weight iq4_xs(const uint8_t *b, int i) {
    const int j = i / 32, low = j % 2 == 0 ? b[4 + j / 2] % 16 : b[4 + j / 2] / 16, high = (b[2] | b[3] << 8) >> (2 * j) & 3;
    return {half_at(b) * (low + 16 * high - 32), IQ4[nibble(b + 8 + 16 * j, i % 32)] * 1.0, 0};
}

}  // namespace

double Weight::size() const { return std::abs(scale * code) + std::abs(least); }

const std::vector<Type> &types() {
    static const std::vector<Type> all = {
        {2, "q4_0", 32, 18, {0}, q4_0},         {3, "q4_1", 32, 20, {0, 2}, q4_1},     {6, "q5_0", 32, 22, {0}, q5_0},
        {7, "q5_1", 32, 24, {0, 2}, q5_1},      {8, "q8_0", 32, 34, {0}, q8_0},        {10, "q2_K", 256, 84, {80, 82}, q2_K},
        {11, "q3_K", 256, 110, {108}, q3_K},    {12, "q4_K", 256, 144, {0, 2}, q4_K},  {13, "q5_K", 256, 176, {0, 2}, q5_K},
        {14, "q6_K", 256, 210, {208}, q6_K},    {20, "iq4_nl", 32, 18, {0}, iq4_nl},   {23, "iq4_xs", 256, 136, {0}, iq4_xs},
        {39, "mxfp4", 32, 17, {}, mxfp4},        {1, "f16", 1, 2, {0}, f16},               {30, "bf16", 1, 2, {0}, bf16},
    };
    return all;
}

const Type &type(int number) {
    for (const Type &one : types())
        if (one.number == number) return one;
    throw check::Failure(check::text("the reference knows no type ", number));
}

double half(uint16_t bits) {
    const int sign = bits >> 15, exponent = bits >> 10 & 31, fraction = bits & 1023;
    const double size = exponent == 31  ? (fraction ? std::nan("") : INFINITY)
                        : exponent == 0 ? std::ldexp(fraction, -24)
                                        : std::ldexp(1024 + fraction, exponent - 25);
    return sign ? -size : size;
}

double bfloat16(uint16_t bits) {
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float value;
    std::memcpy(&value, &wide, 4);
    return static_cast<double>(value);
}

namespace {

uint16_t number(const Type &type, Scales scales, check::Dice &dice) {
    static const std::vector<uint16_t> edges = {0, 0x8000, 1, 0x8001, 0x3ff, 0x400, 0x7bff, 0xfbff, 0x3c00};
    static const std::vector<uint16_t> large = {0, 0x8000, 0x80, 0x8080, 0x7f7f, 0xff7f, 0x3f80};  // of BF16
    const bool bf16 = type.number == 30, sign = scales == Scales::extreme || type.block == 1;
    const int least = bf16 ? 0x3c00 : 0x2000, most = bf16 ? 0x3cff : 0x27ff;  // 2^-7 .. 2^-5
    if (scales == Scales::extreme && dice.chance(0.3)) return dice.of(bf16 ? large : edges);
    const auto size = scales == Scales::extreme ? dice.between(bf16 ? 0x80 : 0, bf16 ? 0x7f7f : 0x7bff) : dice.between(least, most);
    return static_cast<uint16_t>(size | (sign ? dice.between(0, 1) << 15 : 0));
}

}  // namespace

std::vector<uint8_t> file(const Type &type, int64_t columns, int64_t k, Scales scales, check::Dice &dice) {
    std::vector<uint8_t> made(static_cast<size_t>(columns * (k / type.block) * type.bytes));
    for (uint8_t &byte : made) byte = dice.byte();
    for (size_t at = 0; at < made.size(); at += static_cast<size_t>(type.bytes)) {
        for (const int where : type.halves) {
            const uint16_t bits = number(type, scales, dice);
            std::memcpy(&made[at + static_cast<size_t>(where)], &bits, 2);
        }
        if (type.halves.empty()) made[at] = static_cast<uint8_t>(scales == Scales::extreme ? dice.between(0, 145) : dice.between(118, 124));
    }
    return made;
}

bool Sum::agrees(float found) const {
    if (size > 1e37) return true;  // floats end near
    return std::abs(static_cast<double>(found) - value) <= 3e-6 * size + 1e-35;
}

Column column(const Type &type, const uint8_t *file, int64_t number, int64_t k) {
    const uint8_t *line = file + number * (k / type.block) * type.bytes;
    Column made;
    for (int64_t i = 0; i < k; i++) {
        const Weight weight = type.at(line + i / type.block * type.bytes, static_cast<int>(i % type.block));
        made.values.push_back(weight.value());
        made.sizes.push_back(weight.size());
    }
    return made;
}

Sum product(const Column &column, const Row &row) {
    Sum sum;
    for (size_t i = 0; i < row.values.size(); i++) {
        const double x = row.values[i];
        sum.value += column.values[i] * x;
        sum.size += column.sizes[i] * std::abs(x);
    }
    return sum;
}

}  // namespace reference
