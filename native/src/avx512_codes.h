// What a panel's codes and scales become in registers of AVX-512: four k-values of 16 columns, or 16 numbers.
#pragma once

#include "avx512.h"
#include "form.h"
#include "tables.h"

#include <cstring>

namespace inhouse {
namespace {

template <const Form &F>
inline __m512i code(const uint8_t *unit, int group, int half, __m512i table) {
    const __m512i low4 = _mm512_set1_epi8(15), two = _mm512_set1_epi8(3), high2 = _mm512_set1_epi8(0x30);
    if constexpr (F.bits == 8) return _mm512_loadu_si512(unit + (2 * group + half) * 64);
    const uint8_t *low = unit + F.high();
    __m512i v;
    if constexpr (F.bits >= 4) {
        v = _mm512_loadu_si512(low + (2 * (group / 2) + half) * 64);
        v = _mm512_and_si512(group % 2 ? _mm512_srli_epi16(v, 4) : v, low4);
        if constexpr (F.table) v = _mm512_shuffle_epi8(table, v);
    } else {
        v = _mm512_and_si512(_mm512_srli_epi16(_mm512_loadu_si512(low + half * 64), 2 * group), two);
    }
    if constexpr (F.bits == 5 || F.bits == 3) {
        uint64_t mask;
        std::memcpy(&mask, unit + (2 * group + half) * 8, 8);
        v = _mm512_mask_add_epi8(v, mask, v, _mm512_set1_epi8(F.bits == 5 ? 16 : 4));
    }
    if constexpr (F.bits == 6) {
        __m512i h = _mm512_loadu_si512(unit + half * 64);
        h = group < 2 ? _mm512_slli_epi16(h, 4 - 2 * group) : _mm512_srli_epi16(h, 2 * group - 4);
        v = _mm512_or_si512(v, _mm512_and_si512(h, high2));
    }
    return v;
}

template <const Form &F>
inline __m512i table_of() {
    return _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i *>(F.bf16 ? FP4 : IQ4)));
}

inline __m512i spread(const int8_t *p) {
    int32_t four;
    std::memcpy(&four, p, 4);
    return _mm512_set1_epi32(four);
}

inline __m512 halves(const uint8_t *p, bool bf16) {
    const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(p));
    return bf16 ? _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16)) : _mm512_cvtph_ps(v);
}

inline __m512 bytes(const uint8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p))));
}

inline const float *floats(const int8_t *p) { return reinterpret_cast<const float *>(p); }
inline const int32_t *ints(const int8_t *p) { return reinterpret_cast<const int32_t *>(p); }

}  // namespace
}  // namespace inhouse
