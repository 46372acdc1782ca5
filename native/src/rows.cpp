// Single rows of packed weights as numbers: the table of tokens is looked up, and often is the output matrix, too.
//
// Read back from the panel, it need not be there twice. A row of the file is one column of a panel; its values
// are computed as the engine does it, scale * (code - zero) [+ min], so they are the same to the last bit where
// the compiler adds no contraction.
#include "product.h"
#include "tables.h"

#include <cstring>

namespace inhouse {
namespace {

float number(const uint8_t *p, bool bf16) {
    uint16_t bits;
    std::memcpy(&bits, p, 2);
    if (bf16) {
        const uint32_t wide = static_cast<uint32_t>(bits) << 16;
        float value;
        std::memcpy(&value, &wide, 4);
        return value;
    }
    // Its bits stand for 2^-112 of the value where a float has them; the largest exponent is no number's.
    const uint32_t wide = static_cast<uint32_t>(bits & 0x7fff) << 13 | ((bits & 0x7c00) == 0x7c00 ? 0x7f800000u : 0);
    float size;
    std::memcpy(&size, &wide, 4);
    size *= 0x1p112f;
    return bits >> 15 ? -size : size;
}

// Four codes of a column, k-values 4 group .. 4 group + 3 of a unit, in the bytes of a word; what put() wrote.
uint32_t four(const Form &f, const uint8_t *unit, int group, int column) {
    constexpr uint32_t ONE = 0x01010101;
    const int half = column / 16, lane = column % 16;
    const auto word = [&](const uint8_t *at) {
        uint32_t value;
        std::memcpy(&value, at + 4 * lane, 4);
        return value;
    };
    if (f.bits == 8) return word(unit + (2 * group + half) * 64);
    const uint8_t *low = unit + f.high();
    uint32_t codes = f.bits >= 4 ? word(low + (2 * (group / 2) + half) * 64) >> 4 * (group % 2) & 15 * ONE
                                 : word(low + half * 64) >> 2 * group & 3 * ONE;
    if (f.bits == 5 || f.bits == 3) {
        const uint32_t bits = unit[(2 * group + half) * 8 + lane / 2] >> 4 * (lane % 2) & 15;
        codes |= ((bits | bits << 7 | bits << 14 | bits << 21) & ONE) << (f.bits - 1);
    }
    if (f.bits == 6) codes |= (word(unit + half * 64) >> 2 * group & 3 * ONE) << 4;
    return codes;
}

template <class Value>
void of_sub_block(const Form &f, const uint8_t *units, int column, float *to, Value value) {
    const uint8_t *table = f.bf16 ? FP4 : IQ4;
    for (int i = 0; i < f.sub; i += 4) {
        const uint32_t codes = four(f, units + i / UNIT * f.unit(), i % UNIT / 4, column);
        for (int j = 0; j < 4; j++) {
            const int code = codes >> 8 * j & 255;
            to[i + j] = value(static_cast<float>((f.table ? table[code] : code) - f.zero));
        }
    }
}

}  // namespace

void unpack(const Form &f, const uint8_t *panel, int64_t k, int column, float *to) {
    for (int64_t i = 0; f.plain && i < k; i++)
        to[i] = number(panel + 2 * (f.bf16 ? i / 2 * 2 * PANEL + 2 * column + i % 2 : i * PANEL + column), f.bf16);
    if (f.plain) return;
    for (int64_t at = 0; at < k; at += f.block(), panel += f.record(), to += f.block()) {
        const uint8_t *codes = panel + f.at_codes(), *scales = panel + f.at_scales();
        if (!f.super) {
            const float scale = number(scales + 2 * column, f.bf16);
            const float min = f.mins ? number(scales + f.scales() + 2 * column, false) : 0;
            of_sub_block(f, codes, column, to, [&](float code) { return f.mins ? code * scale + min : code * scale; });
            continue;
        }
        const uint8_t *mins = scales + f.scales(), *factors = mins + f.minima();
        const float d = number(factors + 2 * column, false), dmin = f.mins ? number(factors + 2 * PANEL + 2 * column, false) : 0;
        for (int s = 0; s < SUPER / f.sub; s++) {
            const float scale = d * static_cast<float>(static_cast<int8_t>(scales[s * PANEL + column]));
            const float min = f.mins ? dmin * static_cast<float>(mins[s / 2 * 2 * PANEL + 2 * column + s % 2]) : 0;
            of_sub_block(f, codes + s * (f.sub / UNIT) * f.unit(), column, to + s * f.sub,
                         [&](float code) { return f.mins ? scale * code - min : scale * code; });
        }
    }
}

// The chosen rows of weights [k, columns]: ids [n, ...] of any dimensions, result [k, n, ...].
void Packed::look_up(const Work &work, Tensor *op) const {
    const Tensor *weights = op->src[0], *ids = op->src[1];
    const int64_t k = weights->ne[0], count = ids->ne[0] * ids->ne[1] * ids->ne[2] * ids->ne[3];
    for (int64_t i = work.ith; i < count; i += work.nth) {
        const int64_t a = i % ids->ne[0], b = i / ids->ne[0] % ids->ne[1], c = i / (ids->ne[0] * ids->ne[1]);
        int32_t id;
        std::memcpy(&id, static_cast<const char *>(ids->data) + a * ids->nb[0] + b * ids->nb[1] + c * ids->nb[2], 4);
        auto *to = reinterpret_cast<float *>(static_cast<char *>(op->data) + a * op->nb[1] + b * op->nb[2] + c * op->nb[3]);
        if (id < 0 || id >= weights->ne[1]) {
            std::memset(to, 0, static_cast<size_t>(k) * sizeof(float));  // the engine checks tokens before
            continue;
        }
        unpack(kind_.form, static_cast<const uint8_t *>(weights->data) + id / PANEL * kind_.form.panel(k), k, static_cast<int>(id % PANEL), to);
    }
}

}  // namespace inhouse
