// From the file's blocks to panels in the plainest way: one code at a time, bits put where they belong. What
// pack() makes with vectors must be the same, byte for byte. The file's forms are those of ggml-common.h and
// ggml-quants.c (dequantize_row_*).
#include "plain_pack.h"

#include <cstring>

namespace inhouse {
namespace {

struct Unpacked {
    uint8_t codes[SUPER];
    uint16_t scale, min;         // bits of halves (bfloat16 where the form says so)
    int8_t scales[SUPER / 16];   // of 256-blocks
    uint8_t mins[SUPER / 16];
};

uint16_t half_at(const uint8_t *p) {
    uint16_t v;
    std::memcpy(&v, p, 2);
    return v;
}

void nibbles(const uint8_t *qs, uint8_t *to) {  // 16 bytes: first the low ones, then the high ones
    for (int i = 0; i < 16; i++) {
        to[i] = qs[i] & 15;
        to[i + 16] = qs[i] >> 4;
    }
}

void fifth(const uint8_t *qh, uint8_t *to) {
    uint32_t bits;
    std::memcpy(&bits, qh, 4);
    for (int i = 0; i < 32; i++) to[i] |= (bits >> i & 1) << 4;
}

void q4_0(const uint8_t *b, Unpacked &to) {
    to.scale = half_at(b);
    nibbles(b + 2, to.codes);
}

void q4_1(const uint8_t *b, Unpacked &to) {
    to.scale = half_at(b);
    to.min = half_at(b + 2);
    nibbles(b + 4, to.codes);
}

void q5_0(const uint8_t *b, Unpacked &to) {
    to.scale = half_at(b);
    nibbles(b + 6, to.codes);
    fifth(b + 2, to.codes);
}

void q5_1(const uint8_t *b, Unpacked &to) {
    to.scale = half_at(b);
    to.min = half_at(b + 2);
    nibbles(b + 8, to.codes);
    fifth(b + 4, to.codes);
}

void q8_0(const uint8_t *b, Unpacked &to) {
    to.scale = half_at(b);
    for (int i = 0; i < 32; i++) to.codes[i] = b[2 + i] ^ 0x80;
}

void mxfp4(const uint8_t *b, Unpacked &to) {
    // 2^(e - 128), as the table's values are doubled; a bfloat16 below 2^-126 is a denormal
    to.scale = b[0] > 1 ? static_cast<uint16_t>((b[0] - 1) << 7) : static_cast<uint16_t>(0x20 << b[0]);
    nibbles(b + 1, to.codes);
}

void scale_min(int j, const uint8_t *q, int8_t &scale, uint8_t &min) {
    if (j < 4) {
        scale = static_cast<int8_t>(q[j] & 63);
        min = q[j + 4] & 63;
    } else {
        scale = static_cast<int8_t>((q[j + 4] & 15) | (q[j - 4] >> 6) << 4);
        min = static_cast<uint8_t>((q[j + 4] >> 4) | (q[j] >> 6) << 4);
    }
}

void q4_K(const uint8_t *b, Unpacked &to) {
    to.scale = half_at(b);
    to.min = half_at(b + 2);
    for (int j = 0; j < 8; j++) scale_min(j, b + 4, to.scales[j], to.mins[j]);
    const uint8_t *qs = b + 16;
    for (int j = 0; j < 8; j++)
        for (int i = 0; i < 32; i++) to.codes[32 * j + i] = j % 2 ? qs[32 * (j / 2) + i] >> 4 : qs[32 * (j / 2) + i] & 15;
}

void q5_K(const uint8_t *b, Unpacked &to) {
    to.scale = half_at(b);
    to.min = half_at(b + 2);
    for (int j = 0; j < 8; j++) scale_min(j, b + 4, to.scales[j], to.mins[j]);
    const uint8_t *qh = b + 16, *qs = b + 48;
    for (int j = 0; j < 8; j++)
        for (int i = 0; i < 32; i++) {
            uint8_t low = j % 2 ? qs[32 * (j / 2) + i] >> 4 : qs[32 * (j / 2) + i] & 15;
            to.codes[32 * j + i] = low | (qh[i] >> j & 1) << 4;
        }
}

void q6_K(const uint8_t *b, Unpacked &to) {
    const uint8_t *ql = b, *qh = b + 128;
    std::memcpy(to.scales, b + 192, 16);
    to.scale = half_at(b + 208);
    for (int n = 0; n < 2; n++)
        for (int part = 0; part < 4; part++)
            for (int i = 0; i < 32; i++) {
                uint8_t low = ql[64 * n + 32 * (part % 2) + i];
                to.codes[128 * n + 32 * part + i] =
                    (part < 2 ? low & 15 : low >> 4) | (qh[32 * n + i] >> (2 * part) & 3) << 4;
            }
}

void q2_K(const uint8_t *b, Unpacked &to) {
    const uint8_t *qs = b + 16;
    to.scale = half_at(b + 80);
    to.min = half_at(b + 82);
    for (int j = 0; j < 16; j++) {
        to.scales[j] = static_cast<int8_t>(b[j] & 15);
        to.mins[j] = b[j] >> 4;
        for (int i = 0; i < 16; i++)
            to.codes[16 * j + i] = qs[32 * (j / 8) + 16 * (j % 2) + i] >> (2 * (j % 8 / 2)) & 3;
    }
}

void q3_K(const uint8_t *b, Unpacked &to) {
    const uint8_t *mask = b, *qs = b + 32, *sc = b + 96;
    to.scale = half_at(b + 108);
    for (int j = 0; j < 16; j++) {
        int low = j < 8 ? sc[j] & 15 : sc[j - 8] >> 4;
        to.scales[j] = static_cast<int8_t>((low | (sc[8 + j % 4] >> (2 * (j / 4)) & 3) << 4) - 32);
        for (int i = 0; i < 16; i++) {
            int at = 16 * (j % 2) + i;
            int bit = mask[at] >> (j / 2) & 1;
            to.codes[16 * j + i] = static_cast<uint8_t>((qs[32 * (j / 8) + at] >> (2 * (j % 8 / 2)) & 3) | bit << 2);
        }
    }
}

void iq4_xs(const uint8_t *b, Unpacked &to) {
    to.scale = half_at(b);
    uint16_t high = half_at(b + 2);
    for (int j = 0; j < 8; j++) {
        int low = b[4 + j / 2] >> (4 * (j % 2)) & 15;
        to.scales[j] = static_cast<int8_t>((low | (high >> (2 * j) & 3) << 4) - 32);
        nibbles(b + 8 + 16 * j, to.codes + 32 * j);
    }
}

void (*reader(int type))(const uint8_t *, Unpacked &) {
    switch (type) {
        case 2: case 20: return q4_0;
        case 3: return q4_1;
        case 6: return q5_0;
        case 7: return q5_1;
        case 8: return q8_0;
        case 10: return q2_K;
        case 11: return q3_K;
        case 12: return q4_K;
        case 13: return q5_K;
        case 14: return q6_K;
        case 23: return iq4_xs;
        case 39: return mxfp4;
        default: return nullptr;
    }
}

// One unit's codes of one column: four codes (one group of 4 k) are four bytes of a word.
void put(const Form &f, const uint8_t *code, int column, uint8_t *unit) {
    constexpr uint32_t ONE = 0x01010101;
    const int half = column / 16, lane = column % 16;
    const auto word = [](uint8_t *at) { return reinterpret_cast<uint32_t *>(at); };
    uint8_t *low = unit + f.high();
    for (int group = 0; group < 4; group++) {
        uint32_t four;
        std::memcpy(&four, code + 4 * group, 4);
        if (f.bits == 8) {
            word(unit + (2 * group + half) * 64)[lane] = four;
        } else if (f.bits >= 4) {
            word(low + (2 * (group / 2) + half) * 64)[lane] |= (four & 15 * ONE) << (4 * (group % 2));
        } else {
            word(low + half * 64)[lane] |= (four & 3 * ONE) << (2 * group);
        }
        if (f.bits == 5 || f.bits == 3) {
            const uint32_t one = four >> (f.bits - 1) & ONE, bits = (one | one >> 7 | one >> 14 | one >> 21) & 15;
            unit[(2 * group + half) * 8 + lane / 2] |= static_cast<uint8_t>(bits << (4 * (lane % 2)));
        }
        if (f.bits == 6) word(unit + half * 64)[lane] |= (four >> 4 & 3 * ONE) << (2 * group);
    }
}

void put_block(const Form &f, const Unpacked &from, int column, uint8_t *record) {
    for (int u = 0; u < f.block() / UNIT; u++) put(f, from.codes + u * UNIT, column, record + f.at_codes() + u * f.unit());
    uint8_t *at = record + f.at_scales();
    if (!f.super) {
        std::memcpy(at + 2 * column, &from.scale, 2);
        if (f.mins) std::memcpy(at + f.scales() + 2 * column, &from.min, 2);
        return;
    }
    for (int s = 0; s < SUPER / f.sub; s++) at[s * PANEL + column] = static_cast<uint8_t>(from.scales[s]);
    at += f.scales();
    if (f.mins)
        for (int s = 0; s < SUPER / f.sub; s++) at[s / 2 * 2 * PANEL + 2 * column + s % 2] = from.mins[s];
    at += f.minima();
    std::memcpy(at + 2 * column, &from.scale, 2);
    if (f.mins) std::memcpy(at + 2 * PANEL + 2 * column, &from.min, 2);
}

// 16-bit numbers: where each of them goes.
void put_number(const Form &f, const uint8_t *from, int64_t at, int column, uint8_t *panel) {
    const int64_t where = f.bf16 ? at / 2 * 2 * PANEL + 2 * column + at % 2 : at * PANEL + column;
    std::memcpy(panel + 2 * where, from, 2);
}

}  // namespace

void plain_pack(const Kind &kind, const uint8_t *file, int64_t columns, int64_t k, uint8_t *to) {
    const Form &f = kind.form;
    const int64_t blocks = k / f.block(), panels = (columns + PANEL - 1) / PANEL;
    std::memset(to, 0, static_cast<size_t>(panels) * f.panel(k));
    for (int64_t c = 0; c < columns; c++)
        for (int64_t b = 0; b < blocks; b++, file += kind.file_block) {
            uint8_t *panel = to + static_cast<size_t>(c / PANEL) * f.panel(k);
            const int lane = static_cast<int>(c % PANEL);
            if (f.plain) {
                put_number(f, file, b, lane, panel);
                continue;
            }
            Unpacked one;
            reader(kind.type)(file, one);
            put_block(f, one, lane, panel + static_cast<size_t>(b) * f.record());
        }
}

}  // namespace inhouse
