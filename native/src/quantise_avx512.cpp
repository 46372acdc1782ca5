// Rows of activations to int8, for AVX-512: up to 256 values at a time.
//
// A block (32 or 256 values) has a scale, so that its largest value becomes 127. A block with a value that is no
// finite number gets a scale that is none either, and so are the outputs, as the engine's are.
//
//   most[8]      of each 32 values, 16 lanes: |value| compared as unsigned integers, so that NaN is the largest
//   -> 8 floats  in one vector: the scales and their inverses of 8 blocks with one division each
//   codes        of 64 values: 4 vectors packed to one; packing goes by quarters, a permutation sorts them
//   sums         vpsadbw of 8 codes each, in 64 bits; four such vectors side by side as 16-bit numbers are added up
//                and sorted at once for all sub-blocks
#include "avx512.h"
#include "tiles.h"

#include <algorithm>
#include <limits>

namespace inhouse {
namespace {

constexpr int PIECE = SUPER, PARTS = PIECE / 32;

inline __m512i larger(__m512i a, __m512i b) { return _mm512_max_epu32(a, b); }

// The largest of each of 8 vectors, side by side.
inline __m256i largest_of_each(const __m512i (&v)[PARTS]) {
    __m256i half[PARTS];
    UNROLL for (int i = 0; i < PARTS; i++)
        half[i] = _mm256_max_epu32(_mm512_castsi512_si256(v[i]), _mm512_extracti64x4_epi64(v[i], 1));
    __m256i two[4], four[2];
    UNROLL for (int i = 0; i < 4; i++)
        two[i] = _mm256_max_epu32(_mm256_unpacklo_epi32(half[2 * i], half[2 * i + 1]), _mm256_unpackhi_epi32(half[2 * i], half[2 * i + 1]));
    UNROLL for (int i = 0; i < 2; i++)
        four[i] = _mm256_max_epu32(_mm256_unpacklo_epi64(two[2 * i], two[2 * i + 1]), _mm256_unpackhi_epi64(two[2 * i], two[2 * i + 1]));
    return _mm256_max_epu32(_mm256_permute2x128_si256(four[0], four[1], 0x20), _mm256_permute2x128_si256(four[0], four[1], 0x31));
}

inline __m256i largest_of_all(__m256i v) {
    v = _mm256_max_epu32(v, _mm256_permute2x128_si256(v, v, 1));
    v = _mm256_max_epu32(v, _mm256_shuffle_epi32(v, 0x4e));
    return _mm256_max_epu32(v, _mm256_shuffle_epi32(v, 0xb1));
}

struct Scales {
    __m256 scale, inverse;  // of each 32 values
    __mmask8 strange;       // no number is among them
};

inline Scales scales_of(__m256i bits) {
    const __m256 largest = _mm256_castsi256_ps(bits), full = _mm256_set1_ps(127);
    const __mmask8 strange = _mm256_cmpge_epu32_mask(bits, _mm256_set1_epi32(0x7f800000));
    const __mmask8 any = _mm256_mask_cmp_ps_mask(static_cast<__mmask8>(~strange), largest, _mm256_set1_ps(NOTHING), _CMP_GE_OQ);
    const __m256 scale = _mm256_maskz_div_ps(any, largest, full);
    return {_mm256_mask_mov_ps(scale, strange, _mm256_set1_ps(std::numeric_limits<float>::quiet_NaN())), _mm256_maskz_div_ps(any, full, largest), strange};
}

// Sums of sub-blocks from eight sums of 8 codes + 128 in each of four vectors, as 16-bit numbers: [qword][vector].
template <int SUB>
inline __m256i sums_of(__m512i eights) {
    eights = _mm512_add_epi16(eights, _mm512_shuffle_epi32(eights, _MM_PERM_BADC));
    if constexpr (SUB == 32) eights = _mm512_add_epi16(eights, _mm512_shuffle_i64x2(eights, eights, 0xb1));
    constexpr int EACH = 64 / SUB, LANES = 4 / EACH;  // sub-blocks of a vector; 128-bit lanes of a sub-block
    alignas(64) static constexpr auto ORDER = [] {
        struct { uint16_t of[32]; } order{};
        for (int i = 0; i < 4 * EACH; i++) order.of[i] = static_cast<uint16_t>(i % EACH * LANES * 8 + i / EACH);
        return order;
    }();
    const __m512i sorted = _mm512_permutexvar_epi16(_mm512_load_si512(&ORDER), eights);
    return _mm256_sub_epi16(_mm512_castsi512_si256(sorted), _mm256_set1_epi16(128 * SUB));
}

// `count` values, a multiple of 32, from `at` on.
template <int SUB>
inline void quantise(const RowForm &form, const float *x, int8_t *to, int64_t at, int count) {
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    __m512i most[PARTS];
    UNROLL for (int i = 0; i < PARTS; i++) {
        const float *from = x + at + 32 * i;
        most[i] = 32 * i < count ? larger(_mm512_and_si512(magnitude, _mm512_loadu_si512(from)), _mm512_and_si512(magnitude, _mm512_loadu_si512(from + 16)))
                                 : _mm512_setzero_si512();
    }
    __m256i bits = largest_of_each(most);
    if (form.super) bits = largest_of_all(bits);
    const Scales scales = scales_of(bits);
    alignas(32) float inverse[PARTS];
    _mm256_store_ps(inverse, scales.inverse);

    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), shift = _mm512_set1_epi8(-128);
    __m512i eights = _mm512_setzero_si512();
    UNROLL for (int w = 0; w < PIECE / 64; w++) {
        if (64 * w >= count) break;
        const auto rounded = [&](int i) {
            const int part = 2 * w + i / 2;
            if (32 * part >= count) return _mm512_setzero_si512();
            const auto all = static_cast<__mmask16>(scales.strange >> part & 1 ? 0 : 0xffff);
            return _mm512_cvtps_epi32(_mm512_maskz_mul_ps(all, _mm512_loadu_ps(x + at + 64 * w + 16 * i), _mm512_set1_ps(inverse[part])));
        };
        const __m512i quarters = _mm512_packs_epi16(_mm512_packs_epi32(rounded(0), rounded(1)), _mm512_packs_epi32(rounded(2), rounded(3)));
        const __m512i codes = _mm512_permutexvar_epi32(order, quarters);
        _mm512_mask_storeu_epi8(to + at + 64 * w, count - 64 * w >= 64 ? ~__mmask64{0} : 0xffffffff, codes);
        eights = _mm512_or_si512(eights, _mm512_slli_epi64(_mm512_sad_epu8(_mm512_xor_si512(codes, shift), _mm512_setzero_si512()), 16 * w));
    }

    const auto some = [](int n) { return static_cast<__mmask16>((1u << n) - 1); };
    const int subs = count / SUB;
    const __m256i sums = sums_of<SUB>(eights);
    const __m512i wide = _mm512_cvtepi16_epi32(sums);
    _mm512_mask_storeu_epi32(to + form.zeros() + at / SUB * 4, some(subs), _mm512_mullo_epi32(wide, _mm512_set1_epi32(-form.zero)));
    auto *kept = reinterpret_cast<float *>(to + form.scales()) + at / form.block;
    if (form.super) {
        *kept = _mm256_cvtss_f32(scales.scale);
        if (form.mins) _mm256_mask_storeu_epi16(to + form.sums() + at / SUB * 2, some(subs), sums);
    } else {
        _mm256_mask_storeu_ps(kept, static_cast<__mmask8>(some(subs)), scales.scale);
        if (form.mins)
            _mm256_mask_storeu_ps(to + form.sums() + at / SUB * 4, static_cast<__mmask8>(some(subs)),
                                  _mm256_mul_ps(scales.scale, _mm256_cvtepi32_ps(_mm512_castsi512_si256(wide))));
    }
}

}  // namespace

void quantise_avx512(const RowForm &form, const float *x, int8_t *to) {
    if (form.row != Row::codes) return keep_floats(form, x, to);
    for (int64_t at = 0; at < form.k; at += PIECE) {
        const int count = static_cast<int>(std::min<int64_t>(PIECE, form.k - at));
        if (form.sub == 32) {
            quantise<32>(form, x, to, at, count);
        } else {
            quantise<16>(form, x, to, at, count);
        }
    }
}

}  // namespace inhouse
