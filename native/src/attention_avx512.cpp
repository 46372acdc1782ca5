// Attention with AVX-512: vectors of 16 floats; 16 sums of 32 registers.
#include "attention_kernel.h"

#include <immintrin.h>

namespace inhouse {
namespace {

struct Avx512 {
    using V = __m512;
    static constexpr int W = 16, DEEP = 8;

    static V zero() { return _mm512_setzero_ps(); }
    static V set(float x) { return _mm512_set1_ps(x); }
    static V load(const float *at) { return _mm512_loadu_ps(at); }
    static void store(float *at, V x) { _mm512_storeu_ps(at, x); }
    static V add(V a, V b) { return _mm512_add_ps(a, b); }
    static V sub(V a, V b) { return _mm512_sub_ps(a, b); }
    static V mul(V a, V b) { return _mm512_mul_ps(a, b); }
    static V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
    static V max(V a, V b) { return _mm512_max_ps(a, b); }  // b if one is no number
    static float sum(V x) { return _mm512_reduce_add_ps(x); }
    static float largest(V x) { return _mm512_reduce_max_ps(x); }

    static V halves(const uint16_t *at) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(at))); }
    static V bf16(const uint16_t *at) {
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(at))), 16));
    }
    static V half(const char *at) {
        int16_t bits;
        std::memcpy(&bits, at, sizeof bits);
        return _mm512_cvtph_ps(_mm256_set1_epi16(bits));
    }
    static V bytes(const char *at) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(at)))); }

    static V closed_or_sum(V s, V mask) {
        const V closed = set(LOWEST);
        return _mm512_mask_mov_ps(add(s, mask), _mm512_cmp_ps_mask(mask, closed, _CMP_EQ_OQ), closed);
    }
    static V lowest_is_zero(V x) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, set(LOWEST), _CMP_NEQ_UQ), x); }
    static V where_weighed(V value, V weight) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(weight, zero(), _CMP_NEQ_UQ), value); }
    static bool all_one(V x) { return _mm512_cmp_ps_mask(x, set(1), _CMP_EQ_OQ) == 0xffff; }

    // 2^n * e^r with |r| <= ln 2 / 2: a polynomial of degree 6 (below 1 ulp before it is rounded).
    static V exp(V x) {
        x = max(set(-110), x);  // less is 0
        const V n = _mm512_roundscale_ps(mul(x, set(1.44269504f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        const V r = fma(n, set(-1.42860677e-6f), fma(n, set(-0.693145752f), x));
        V sum = set(1.0f / 720);
        for (const float c : {1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f}) sum = fma(sum, r, set(c));
        return _mm512_scalef_ps(sum, n);
    }
    static V tanh(V x) {
        const V size = _mm512_abs_ps(x), e = exp(mul(size, set(-2))), square = mul(x, x);
        const V large = _mm512_div_ps(sub(set(1), e), add(set(1), e));
        const V small = fma(mul(size, square), fma(fma(square, set(-17.0f / 315), set(2.0f / 15)), square, set(-1.0f / 3)), size);
        const V either = _mm512_mask_mov_ps(large, _mm512_cmp_ps_mask(size, set(0.15f), _CMP_LT_OQ), small);
        return _mm512_or_ps(either, _mm512_and_ps(x, set(-0.0f)));
    }

    static V sums(const V (&v)[16]) {  // lane i: of v[i]
        V by4[4], by8[2];
        UNROLL for (int i = 0; i < 4; i++) {
            const V ab = add(_mm512_unpacklo_ps(v[4 * i], v[4 * i + 1]), _mm512_unpackhi_ps(v[4 * i], v[4 * i + 1]));
            const V cd = add(_mm512_unpacklo_ps(v[4 * i + 2], v[4 * i + 3]), _mm512_unpackhi_ps(v[4 * i + 2], v[4 * i + 3]));
            by4[i] = add(low(ab, cd), high(ab, cd));
        }
        UNROLL for (int i = 0; i < 2; i++)
            by8[i] = add(_mm512_shuffle_f32x4(by4[2 * i], by4[2 * i + 1], 0x88), _mm512_shuffle_f32x4(by4[2 * i], by4[2 * i + 1], 0xdd));
        return add(_mm512_shuffle_f32x4(by8[0], by8[1], 0x88), _mm512_shuffle_f32x4(by8[0], by8[1], 0xdd));
    }
    static void transpose(V (&v)[16]) {
        V t[16];
        UNROLL for (int i = 0; i < 16; i += 4) {  // 4 x 4 within each quarter of a vector
            const V a = _mm512_unpacklo_ps(v[i], v[i + 1]), b = _mm512_unpackhi_ps(v[i], v[i + 1]);
            const V c = _mm512_unpacklo_ps(v[i + 2], v[i + 3]), d = _mm512_unpackhi_ps(v[i + 2], v[i + 3]);
            t[i] = low(a, c), t[i + 1] = high(a, c), t[i + 2] = low(b, d), t[i + 3] = high(b, d);
        }
        UNROLL for (int i = 0; i < 4; i++) {  // then of quarters
            const V a = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x88), b = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xdd);
            const V c = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x88), d = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xdd);
            v[i] = _mm512_shuffle_f32x4(a, c, 0x88), v[i + 8] = _mm512_shuffle_f32x4(a, c, 0xdd);
            v[i + 4] = _mm512_shuffle_f32x4(b, d, 0x88), v[i + 12] = _mm512_shuffle_f32x4(b, d, 0xdd);
        }
    }

  private:
    static V low(V a, V b) { return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b))); }
    static V high(V a, V b) { return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b))); }
};

}  // namespace

extern const AttentionKernel ATTENTION_AVX512{Attender<Avx512>::piece, Attender<Avx512>::merge, Attender<Avx512>::finish};

}  // namespace inhouse
