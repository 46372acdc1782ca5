// From the file's blocks to panels, as fast as memory takes them (about 0.1 ns for each weight; 0.04 in the cache).
//
// Of 32 columns 256 k-values at a time become bytes in the L1 (8 KiB, blocks.h), from where words of four k-values
// go to the vectors that kernels read. Every line of a panel is written whole and once.
//
//   8 columns, a unit of 16 k-values              w[0]  a0 b0 c0 d0 e0 f0 g0 h0    four words of each column
//   a: a0 a1 a2 a3 (words)                        w[1]  a1 b1 c1 d1 e1 f1 g1 h1    become four vectors of eight
//   ...                              turned       w[2]  ...                        columns: 4 loads, 4 inserts and
//   h: h0 h1 h2 h3                   ------->     w[3]                             8 unpacks for 128 weights
//
// Compiled for AVX2, which all of our kernels need; so none of it may run before best_kernels() found some.
#include "blocks.h"

#include <algorithm>

namespace inhouse {
namespace {

// `from` has `stride` bytes from column to column.
inline void turned(const uint8_t *from, size_t stride, __m256i (&w)[4]) {
    const auto two = [&](size_t c) {
        return _mm256_inserti128_si256(_mm256_castsi128_si256(load16(from + c * stride)), load16(from + (c + 4) * stride), 1);
    };
    const __m256i a = two(0), b = two(1), c = two(2), d = two(3);
    const __m256i ab = _mm256_unpacklo_epi32(a, b), ab2 = _mm256_unpackhi_epi32(a, b);
    const __m256i cd = _mm256_unpacklo_epi32(c, d), cd2 = _mm256_unpackhi_epi32(c, d);
    w[0] = _mm256_unpacklo_epi64(ab, cd);
    w[1] = _mm256_unpackhi_epi64(ab, cd);
    w[2] = _mm256_unpacklo_epi64(ab2, cd2);
    w[3] = _mm256_unpackhi_epi64(ab2, cd2);
}

// Has the L2 fetch what comes next: 32 columns are more than a processor sees coming, and more lines than an L1 can
// wait for. Behind the file's end it is no harm.
inline void ahead(const uint8_t *from, int64_t size) {
    for (int64_t at = 0; at < size; at += 64) _mm_prefetch(reinterpret_cast<const char *>(from + at), _MM_HINT_T1);
}

// One unit of 32 columns; `codes` has SUPER bytes of each.
template <const Form &F>
inline void put(const uint8_t *codes, uint8_t *unit) {
    uint8_t *low = unit + F.high();
    for (int q = 0; q < 4; q++) {  // 8 columns each
        __m256i w[4];
        turned(codes + 8 * q * SUPER, SUPER, w);
        const auto all = [&](int shift, int mask) {  // two bits of each group of four side by side
            return _mm256_or_si256(_mm256_or_si256(right(w[0], shift, mask), left(right(w[1], shift, mask), 2, mask)),
                                   _mm256_or_si256(left(right(w[2], shift, mask), 4, mask), left(right(w[3], shift, mask), 6, mask)));
        };
        if constexpr (F.bits == 8)
            for (int g = 0; g < 4; g++) store(unit + 128 * g + 32 * q, w[g]);
        else if constexpr (F.bits >= 4)
            for (int g = 0; g < 4; g += 2) store(low + 64 * g + 32 * q, _mm256_or_si256(right(w[g], 0, 15), left(w[g + 1], 4, 15)));
        else
            store(low + 32 * q, all(0, 3));
        if constexpr (F.bits == 5 || F.bits == 3)
            for (int g = 0; g < 4; g++) {
                const int bits = _mm256_movemask_epi8(_mm256_slli_epi16(w[g], 8 - F.bits));
                std::memcpy(unit + 16 * g + 4 * q, &bits, 4);
            }
        if constexpr (F.bits == 6) store(unit + 32 * q, all(4, 3));
    }
}

// What stands beside the codes of one block, as it lies in a record.
template <const Form &F>
constexpr int BESIDE = F.record() - F.codes();

template <const Form &F>
inline void put_scales(const uint8_t *block, int column, uint8_t *at) {
    using Block = File<F>;
    if constexpr (F.super) {
        uint8_t scales[SUPER / 16], mins[SUPER / 16];
        Block::scales(block, scales, mins);
        for (int s = 0; s < SUPER / F.sub; s++) at[s * PANEL + column] = scales[s];
        at += F.scales();
        for (int s = 0; F.mins && s < SUPER / F.sub; s += 2) std::memcpy(at + s * PANEL + 2 * column, mins + s, 2);
        at += F.minima();
    }
    if constexpr (Block::FACTOR < 0) {
        const uint16_t factor = Block::factor(block);
        std::memcpy(at + 2 * column, &factor, 2);
    } else {
        std::memcpy(at + 2 * column, block + Block::FACTOR, 2);
    }
    if constexpr (F.mins) std::memcpy(at + 2 * PANEL + 2 * column, block + Block::MINIMUM, 2);
}

// Nothing goes to the panel but in its order: a store to a line that is not there holds up those behind it.
template <const Form &F>
void pack_codes(const uint8_t *file, int64_t columns, int64_t k, uint8_t *to, int64_t first, int64_t last) {
    using Block = File<F>;
    constexpr int64_t RUN = SUPER / F.block();
    alignas(64) uint8_t codes[PANEL * SUPER], beside[RUN * BESIDE<F>];
    const int64_t blocks = k / F.block();
    const size_t line = static_cast<size_t>(blocks) * Block::BYTES;
    for (int64_t p = first; p < last; p++) {
        uint8_t *record = to + static_cast<size_t>(p) * F.panel(k);
        const int here = static_cast<int>(std::min<int64_t>(PANEL, columns - p * PANEL));
        if (here < PANEL) {  // columns that are missing are zeros
            std::memset(codes, 0, sizeof codes);
            std::memset(beside, 0, sizeof beside);
        }
        for (int64_t b = 0; b < blocks; b += RUN) {
            const int64_t run = std::min(RUN, blocks - b);
            for (int c = 0; c < here; c++) {
                const uint8_t *block = file + static_cast<size_t>(p * PANEL + c) * line + static_cast<size_t>(b) * Block::BYTES;
                ahead(block + 3 * RUN * Block::BYTES, RUN * Block::BYTES);
                for (int64_t i = 0; i < run; i++, block += Block::BYTES) {
                    Block::codes(block, codes + c * SUPER + i * F.block());
                    put_scales<F>(block, c, beside + i * BESIDE<F>);
                }
            }
            for (int64_t i = 0; i < run; i++, record += F.record()) {
                std::memcpy(record + F.at_scales(), beside + i * BESIDE<F>, BESIDE<F>);
                for (int u = 0; u < F.block() / UNIT; u++)
                    put<F>(codes + i * F.block() + u * UNIT, record + F.at_codes() + u * F.unit());
            }
        }
    }
}

// 16-bit numbers, eight k-values of 32 columns at a time: a word is two k-values, side by side in BF16's panels
// and one behind the other in those of F16.
template <const Form &F>
void pack_numbers(const uint8_t *file, int64_t columns, int64_t k, uint8_t *to, int64_t first, int64_t last) {
    constexpr int64_t EIGHT = 8;
    uint8_t filled_up[PANEL * 16];
    const size_t line = static_cast<size_t>(k) * 2;
    for (int64_t p = first; p < last; p++) {
        uint8_t *panel = to + static_cast<size_t>(p) * F.panel(k);
        const uint8_t *rows = file + static_cast<size_t>(p * PANEL) * line;
        const int here = static_cast<int>(std::min<int64_t>(PANEL, columns - p * PANEL));
        for (int64_t at = 0; at < k; at += EIGHT) {
            const uint8_t *from = rows + at * 2;
            size_t stride = line;
            for (int c = 0; at % 32 == 0 && c < here; c++) ahead(from + c * line + 3 * 64, 64);
            if (here < PANEL || k - at < EIGHT) {
                std::memset(filled_up, 0, sizeof filled_up);
                for (int c = 0; c < here; c++) std::memcpy(filled_up + 16 * c, from + c * line, static_cast<size_t>(std::min(EIGHT, k - at)) * 2);
                from = filled_up;
                stride = 16;
            }
            const int words = k - at > QUAD ? 4 : 2;  // as far as K is filled up
            for (int half = 0; half < 2; half++) {
                __m256i a[4], b[4];
                turned(from + 16 * half * stride, stride, a);
                turned(from + (16 * half + 8) * stride, stride, b);
                for (int w = 0; w < words; w++) {
                    uint8_t *out = panel + (at + 2 * w) * PANEL * 2;
                    if constexpr (F.bf16) {
                        store(out + 64 * half, a[w]);
                        store(out + 64 * half + 32, b[w]);
                    } else {
                        const __m256i low = _mm256_set1_epi32(0xffff);
                        const __m256i even = _mm256_packus_epi32(_mm256_and_si256(a[w], low), _mm256_and_si256(b[w], low));
                        const __m256i odd = _mm256_packus_epi32(_mm256_srli_epi32(a[w], 16), _mm256_srli_epi32(b[w], 16));
                        store(out + 32 * half, _mm256_permute4x64_epi64(even, 0xd8));
                        store(out + 64 + 32 * half, _mm256_permute4x64_epi64(odd, 0xd8));
                    }
                }
            }
        }
    }
}

}  // namespace

void pack(const Kind &kind, const uint8_t *file, int64_t columns, int64_t k, uint8_t *to, int64_t first, int64_t last) {
    switch (kind.type) {
        case 1: return pack_numbers<forms::f16>(file, columns, k, to, first, last);
        case 30: return pack_numbers<forms::bf16>(file, columns, k, to, first, last);
        case 2: return pack_codes<forms::q4_0>(file, columns, k, to, first, last);
        case 3: return pack_codes<forms::q4_1>(file, columns, k, to, first, last);
        case 6: return pack_codes<forms::q5_0>(file, columns, k, to, first, last);
        case 7: return pack_codes<forms::q5_1>(file, columns, k, to, first, last);
        case 8: return pack_codes<forms::q8_0>(file, columns, k, to, first, last);
        case 10: return pack_codes<forms::q2_K>(file, columns, k, to, first, last);
        case 11: return pack_codes<forms::q3_K>(file, columns, k, to, first, last);
        case 12: return pack_codes<forms::q4_K>(file, columns, k, to, first, last);
        case 13: return pack_codes<forms::q5_K>(file, columns, k, to, first, last);
        case 14: return pack_codes<forms::q6_K>(file, columns, k, to, first, last);
        case 20: return pack_codes<forms::iq4_nl>(file, columns, k, to, first, last);
        case 23: return pack_codes<forms::iq4_xs>(file, columns, k, to, first, last);
        case 39: return pack_codes<forms::mxfp4>(file, columns, k, to, first, last);
    }
}

}  // namespace inhouse
