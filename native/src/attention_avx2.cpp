// Attention with AVX2: vectors of 8 floats; 8 sums of 16 registers.
#include "attention_kernel.h"

#include <immintrin.h>

namespace inhouse {
namespace {

struct Avx2 {
    using V = __m256;
    static constexpr int W = 8, DEEP = 4;

    static V zero() { return _mm256_setzero_ps(); }
    static V set(float x) { return _mm256_set1_ps(x); }
    static V load(const float *at) { return _mm256_loadu_ps(at); }
    static void store(float *at, V x) { _mm256_storeu_ps(at, x); }
    static V add(V a, V b) { return _mm256_add_ps(a, b); }
    static V sub(V a, V b) { return _mm256_sub_ps(a, b); }
    static V mul(V a, V b) { return _mm256_mul_ps(a, b); }
    static V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
    static V max(V a, V b) { return _mm256_max_ps(a, b); }  // b if one is no number
    static float sum(V x) {
        float all[W];
        store(all, x);
        return ((all[0] + all[4]) + (all[2] + all[6])) + ((all[1] + all[5]) + (all[3] + all[7]));
    }
    static float largest(V x) {
        float all[W];
        store(all, x);
        return *std::max_element(all, all + W);
    }

    static V halves(const uint16_t *at) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(at))); }
    static V bf16(const uint16_t *at) {
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(at))), 16));
    }
    static V half(const char *at) {
        int16_t bits;
        std::memcpy(&bits, at, sizeof bits);
        return _mm256_cvtph_ps(_mm_set1_epi16(bits));
    }
    static V bytes(const char *at) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i *>(at)))); }

    static V closed_or_sum(V s, V mask) {
        const V closed = set(LOWEST);
        return _mm256_blendv_ps(add(s, mask), closed, _mm256_cmp_ps(mask, closed, _CMP_EQ_OQ));
    }
    static V lowest_is_zero(V x) { return _mm256_and_ps(x, _mm256_cmp_ps(x, set(LOWEST), _CMP_NEQ_UQ)); }
    static V where_weighed(V value, V weight) { return _mm256_and_ps(value, _mm256_cmp_ps(weight, zero(), _CMP_NEQ_UQ)); }
    static bool all_one(V x) { return _mm256_movemask_ps(_mm256_cmp_ps(x, set(1), _CMP_EQ_OQ)) == 0xff; }

    // As with AVX-512; 2^n is made of bits, and what would be no normal number is 0.
    static V exp(V x) {
        const V normal = _mm256_cmp_ps(x, set(-87.3f), _CMP_NLT_UQ);
        x = max(set(-87.3f), x);
        const V n = _mm256_round_ps(mul(x, set(1.44269504f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        const V r = fma(n, set(-1.42860677e-6f), fma(n, set(-0.693145752f), x));
        V sum = set(1.0f / 720);
        for (const float c : {1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f}) sum = fma(sum, r, set(c));
        const __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
        return _mm256_and_ps(normal, mul(sum, _mm256_castsi256_ps(power)));
    }
    static V tanh(V x) {
        const V sign = _mm256_and_ps(x, set(-0.0f)), size = _mm256_xor_ps(x, sign), e = exp(mul(size, set(-2))), square = mul(x, x);
        const V large = _mm256_div_ps(sub(set(1), e), add(set(1), e));
        const V small = fma(mul(size, square), fma(fma(square, set(-17.0f / 315), set(2.0f / 15)), square, set(-1.0f / 3)), size);
        return _mm256_or_ps(_mm256_blendv_ps(large, small, _mm256_cmp_ps(size, set(0.15f), _CMP_LT_OQ)), sign);
    }

    static V sums(const V (&v)[8]) {  // lane i: of v[i]
        V by4[2];
        UNROLL for (int i = 0; i < 2; i++)
            by4[i] = _mm256_hadd_ps(_mm256_hadd_ps(v[4 * i], v[4 * i + 1]), _mm256_hadd_ps(v[4 * i + 2], v[4 * i + 3]));
        return add(_mm256_permute2f128_ps(by4[0], by4[1], 0x20), _mm256_permute2f128_ps(by4[0], by4[1], 0x31));
    }
    static void transpose(V (&v)[8]) {
        V t[8];
        UNROLL for (int i = 0; i < 8; i += 4) {  // 4 x 4 within each half of a vector
            const V a = _mm256_unpacklo_ps(v[i], v[i + 1]), b = _mm256_unpackhi_ps(v[i], v[i + 1]);
            const V c = _mm256_unpacklo_ps(v[i + 2], v[i + 3]), d = _mm256_unpackhi_ps(v[i + 2], v[i + 3]);
            t[i] = low(a, c), t[i + 1] = high(a, c), t[i + 2] = low(b, d), t[i + 3] = high(b, d);
        }
        UNROLL for (int i = 0; i < 4; i++) {
            v[i] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x20);
            v[i + 4] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x31);
        }
    }

  private:
    static V low(V a, V b) { return _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(a), _mm256_castps_pd(b))); }
    static V high(V a, V b) { return _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(a), _mm256_castps_pd(b))); }
};

}  // namespace

extern const AttentionKernel ATTENTION_AVX2{Attender<Avx2>::piece, Attender<Avx2>::merge, Attender<Avx2>::finish};

}  // namespace inhouse
