// The file's blocks, read with AVX2: codes as bytes in the order of k, scales and minimums as bytes.
//
// The file's forms are those of ggml-common.h and ggml-quants.c (dequantize_row_*): what order codes lie in, how
// scales are packed. Of each type: the BYTES of a block, where its factor and that of its minimums stand (16-bit
// numbers), its codes, and of 256-blocks what scales() makes of its packed scales. Nothing is read beside a block.
#pragma once

#include "form.h"

#include <cstring>

#include <immintrin.h>

namespace inhouse {
namespace {

inline __m256i load(const uint8_t *from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i *>(from)); }
inline __m128i load16(const uint8_t *from) { return _mm_loadu_si128(reinterpret_cast<const __m128i *>(from)); }
inline void store(uint8_t *to, __m256i v) { _mm256_storeu_si256(reinterpret_cast<__m256i *>(to), v); }
inline void store16(uint8_t *to, __m128i v) { _mm_storeu_si128(reinterpret_cast<__m128i *>(to), v); }

inline uint32_t word(const uint8_t *from) {
    uint32_t v;
    std::memcpy(&v, from, 4);
    return v;
}

// (v >> shift) & mask of each byte; (v & mask) << shift, where no byte grows into the next.
inline __m256i right(__m256i v, int shift, int mask) { return _mm256_and_si256(_mm256_srli_epi16(v, shift), _mm256_set1_epi8(static_cast<char>(mask))); }
inline __m256i left(__m256i v, int shift, int mask) { return _mm256_slli_epi16(_mm256_and_si256(v, _mm256_set1_epi8(static_cast<char>(mask))), shift); }

inline __m256i nibbles(const uint8_t *from) {  // 16 bytes: first the low ones, then the high ones
    const __m128i v = load16(from);
    return right(_mm256_inserti128_si256(_mm256_castsi128_si256(v), _mm_srli_epi16(v, 4), 1), 0, 15);
}

inline __m256i fifth(const uint8_t *from) {  // 32 bits, the fifth of a code each
    const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i bit = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201u));
    const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(word(from))), spread);
    return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit), _mm256_set1_epi8(16));
}

// Scales of 256-blocks, biased by 32 in the file, as they are.
inline void unbiased(uint8_t *scales) { store16(scales, _mm_sub_epi8(load16(scales), _mm_set1_epi8(32))); }

template <const Form &>
struct File;

template <>
struct File<forms::q4_0> {
    static constexpr int BYTES = 18, FACTOR = 0, MINIMUM = 0;
    static void codes(const uint8_t *b, uint8_t *to) { store(to, nibbles(b + 2)); }
};

template <>
struct File<forms::iq4_nl> : File<forms::q4_0> {};

template <>
struct File<forms::q4_1> {
    static constexpr int BYTES = 20, FACTOR = 0, MINIMUM = 2;
    static void codes(const uint8_t *b, uint8_t *to) { store(to, nibbles(b + 4)); }
};

template <>
struct File<forms::q5_0> {
    static constexpr int BYTES = 22, FACTOR = 0, MINIMUM = 0;
    static void codes(const uint8_t *b, uint8_t *to) { store(to, _mm256_or_si256(nibbles(b + 6), fifth(b + 2))); }
};

template <>
struct File<forms::q5_1> {
    static constexpr int BYTES = 24, FACTOR = 0, MINIMUM = 2;
    static void codes(const uint8_t *b, uint8_t *to) { store(to, _mm256_or_si256(nibbles(b + 8), fifth(b + 4))); }
};

template <>
struct File<forms::q8_0> {
    static constexpr int BYTES = 34, FACTOR = 0, MINIMUM = 0;
    static void codes(const uint8_t *b, uint8_t *to) { store(to, _mm256_xor_si256(load(b + 2), _mm256_set1_epi8(-128))); }
};

template <>
struct File<forms::mxfp4> {
    static constexpr int BYTES = 17, FACTOR = -1, MINIMUM = 0;
    static void codes(const uint8_t *b, uint8_t *to) { store(to, nibbles(b + 1)); }
    // 2^(e - 128), as the table's values are doubled; a bfloat16 below 2^-126 is a denormal
    static uint16_t factor(const uint8_t *b) { return static_cast<uint16_t>(b[0] > 1 ? (b[0] - 1) << 7 : 0x20 << b[0]); }
};

template <>
struct File<forms::q2_K> {
    static constexpr int BYTES = 84, FACTOR = 80, MINIMUM = 82;
    static void codes(const uint8_t *b, uint8_t *to) {
        for (int i = 0; i < 8; i++) store(to + 32 * i, right(load(b + 16 + 32 * (i / 4)), 2 * (i % 4), 3));
    }
    static void scales(const uint8_t *b, uint8_t *scales, uint8_t *mins) {
        const __m128i both = load16(b), low = _mm_set1_epi8(15);
        store16(scales, _mm_and_si128(both, low));
        store16(mins, _mm_and_si128(_mm_srli_epi16(both, 4), low));
    }
};

template <>
struct File<forms::q3_K> {
    static constexpr int BYTES = 110, FACTOR = 108, MINIMUM = 0;
    static void codes(const uint8_t *b, uint8_t *to) {
        const __m256i third = load(b);
        for (int i = 0; i < 8; i++)
            store(to + 32 * i, _mm256_or_si256(right(load(b + 32 + 32 * (i / 4)), 2 * (i % 4), 3), left(right(third, i, 1), 2, 1)));
    }
    static void scales(const uint8_t *b, uint8_t *scales, uint8_t *) {
        const uint32_t high = word(b + 104);
        for (int i = 0; i < 4; i++) {
            const uint32_t four = (word(b + 96 + 4 * (i % 2)) >> (i / 2 * 4) & 0x0f0f0f0f) | (high >> 2 * i & 0x03030303) << 4;
            std::memcpy(scales + 4 * i, &four, 4);
        }
        unbiased(scales);
    }
};

template <>
struct File<forms::q4_K> {
    static constexpr int BYTES = 144, FACTOR = 0, MINIMUM = 2;
    static void codes(const uint8_t *b, uint8_t *to) {
        for (int i = 0; i < 8; i++) store(to + 32 * i, right(load(b + 16 + 32 * (i / 2)), 4 * (i % 2), 15));
    }
    static void scales(const uint8_t *b, uint8_t *scales, uint8_t *mins) {  // 6 bits each: the upper four's high bits lie with the lower four
        const uint32_t first = word(b + 4), second = word(b + 8), third = word(b + 12);
        const uint32_t all[] = {first & 0x3f3f3f3f, (third & 0x0f0f0f0f) | (first >> 6 & 0x03030303) << 4, second & 0x3f3f3f3f,
                                (third >> 4 & 0x0f0f0f0f) | (second >> 6 & 0x03030303) << 4};
        std::memcpy(scales, all, 8);
        std::memcpy(mins, all + 2, 8);
    }
};

template <>
struct File<forms::q5_K> : File<forms::q4_K> {
    static constexpr int BYTES = 176;
    static void codes(const uint8_t *b, uint8_t *to) {
        const __m256i high = load(b + 16);
        for (int i = 0; i < 8; i++)
            store(to + 32 * i, _mm256_or_si256(right(load(b + 48 + 32 * (i / 2)), 4 * (i % 2), 15), left(right(high, i, 1), 4, 1)));
    }
};

template <>
struct File<forms::q6_K> {
    static constexpr int BYTES = 210, FACTOR = 208, MINIMUM = 0;
    static void codes(const uint8_t *b, uint8_t *to) {
        for (int i = 0; i < 8; i++) {  // halves of 128, in each first the low nibbles of 64 bytes, then the high ones
            const __m256i low = load(b + 64 * (i / 4) + 32 * (i % 2)), high = load(b + 128 + 32 * (i / 4));
            store(to + 32 * i, _mm256_or_si256(right(low, i % 4 / 2 * 4, 15), left(right(high, 2 * (i % 4), 3), 4, 3)));
        }
    }
    static void scales(const uint8_t *b, uint8_t *scales, uint8_t *) { store16(scales, load16(b + 192)); }
};

template <>
struct File<forms::iq4_xs> {
    static constexpr int BYTES = 136, FACTOR = 0, MINIMUM = 0;
    static void codes(const uint8_t *b, uint8_t *to) {
        for (int i = 0; i < 8; i++) store(to + 32 * i, nibbles(b + 8 + 16 * i));
    }
    static void scales(const uint8_t *b, uint8_t *scales, uint8_t *) {
        const int high = b[2] | b[3] << 8;
        for (int j = 0; j < 8; j++) scales[j] = static_cast<uint8_t>((b[4 + j / 2] >> (4 * (j % 2)) & 15) | (high >> (2 * j) & 3) << 4);
        unbiased(scales);
    }
};

}  // namespace
}  // namespace inhouse
