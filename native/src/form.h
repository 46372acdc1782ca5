// How the weights of each type lie in memory for our kernels.
//
// Weights are cut into panels of 32 columns (rows of the file's matrix, outputs of the product). A panel runs
// through all of K in units of 16 k-values:
//
//   unit, 4 bits (256 bytes)   pair 0: [columns 0..15] [columns 16..31]   pair 1: the same
//                              64 bytes each: column c has bytes 4c..4c+3; a byte's low nibble belongs to
//                              k = 8 pair + 0..3, the high one to k = 8 pair + 4..7
//   1 bit more (64 bytes)      before these; 8 masks of 64 bits: [group of 4 k][half], bit 4c+i is the fifth bit
//   2 bits more (128 bytes)    before these; 2 vectors [half], of each byte two bits per group of 4 k
//   unit, 8 bits (512 bytes)   [group of 4 k][half], 64 bytes each
//   unit, 2 bits (128 bytes)   like the two high bits; 1 bit more as above
//
// A type of 32-blocks has, for every 32 k-values: 2 units, 32 scales (half), [32 mins (half)].
// A type of 256-blocks has, for every 256: int8 scales [sub-block][32 columns], [uint8 mins: pairs of
// sub-blocks side by side, [pair][column][2]], 32 factors (half), [32 factors of mins], 16 units. All are read
// in the order in which they lie: a scale four kilobytes ahead of its codes would wait for memory each time.
//
// A weight is scale * (code - zero) [+ min]; codes are unsigned, as vpdpbusd wants them. So everything has
// the size that it has in the file (Q4_K and Q5_K: 2.8 % and 2.3 % more, their scales are spread to bytes).
//
// Weights that are 16-bit numbers (F16, BF16) have no blocks: 64 bytes for each k, of all 32 columns. K is filled
// up with zeros to a multiple of 4.
//
//   F16                            [k: columns 0..31]  [k + 1: columns 0..31]
//   BF16, k-values side by side    [columns 0..15, each k and k + 1]  [columns 16..31]
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace inhouse {

constexpr int PANEL = 32, UNIT = 16, SUPER = 256, QUAD = 4;

// Of 16-bit numbers.
constexpr int64_t filled(int64_t k) { return (k + QUAD - 1) / QUAD * QUAD; }

struct Form {
    int bits;          // of a code: 2, 3, 4, 5, 6 or 8
    bool table;        // a 4-bit code is an index into a table of 16 values
    int sub;           // k-values under one scale: 16 or 32
    bool super;        // blocks of 256 with byte scales, else blocks of 32 with their own scale
    bool mins;
    int zero;          // the code that means 0
    bool bf16 = false; // scales of 32-blocks are bfloat16, whose range a power of two may need; or the weights are
    bool plain = false; // weights are 16-bit numbers

    constexpr int low() const { return bits == 8 ? 512 : bits >= 4 ? 256 : 128; }
    constexpr int high() const { return bits == 5 || bits == 3 ? 64 : bits == 6 ? 128 : 0; }
    constexpr int unit() const { return low() + high(); }
    constexpr int block() const { return plain ? 1 : super ? SUPER : 32; }
    constexpr int codes() const { return block() / UNIT * unit(); }
    constexpr int scales() const { return super ? SUPER / sub * PANEL : 2 * PANEL; }
    constexpr int minima() const { return mins ? scales() : 0; }
    constexpr int factors() const { return super ? (mins ? 4 : 2) * PANEL : 0; }
    constexpr int record() const { return codes() + scales() + minima() + factors(); }
    constexpr int at_codes() const { return super ? scales() + minima() + factors() : 0; }
    constexpr int at_scales() const { return super ? 0 : codes(); }
    constexpr size_t panel(int64_t k) const {
        return plain ? static_cast<size_t>(filled(k)) * PANEL * 2 : static_cast<size_t>(k / block()) * record();
    }
};

namespace forms {
constexpr Form q4_0{4, false, 32, false, false, 8};
constexpr Form q4_1{4, false, 32, false, true, 0};
constexpr Form q5_0{5, false, 32, false, false, 16};
constexpr Form q5_1{5, false, 32, false, true, 0};
constexpr Form q8_0{8, false, 32, false, false, 128};
constexpr Form iq4_nl{4, true, 32, false, false, 128};
constexpr Form mxfp4{4, true, 32, false, false, 128, true};
constexpr Form q2_K{2, false, 16, true, true, 0};
constexpr Form q3_K{3, false, 16, true, false, 4};
constexpr Form q4_K{4, false, 32, true, true, 0};
constexpr Form q5_K{5, false, 32, true, true, 0};
constexpr Form q6_K{6, false, 16, true, false, 32};
constexpr Form iq4_xs{4, true, 32, true, false, 128};
constexpr Form f16{16, false, 1, false, false, 0, false, true};
constexpr Form bf16{16, false, 1, false, false, 0, true, true};
}  // namespace forms

// How the rows of activations lie, quantised to int8: codes[k], then float scale per block, then int32
// -zero * (sum of codes) per sub-block, then for mins per sub-block: float scale * sum (32-blocks), or
// int16 sums side by side (256-blocks). Rows for 16-bit weights are numbers, filled up with zeros as K is.
enum class Row { codes, floats, bf16 };

struct RowForm {
    int64_t k;
    int block, sub, zero;
    bool mins, super;
    Row row;

    RowForm(const Form &f, int64_t k, bool dpbf16)
        : k(k), block(f.block()), sub(f.sub), zero(f.zero), mins(f.mins), super(f.super),
          row(!f.plain ? Row::codes : f.bf16 && dpbf16 ? Row::bf16 : Row::floats) {}
    size_t scales() const { return static_cast<size_t>(k); }
    size_t zeros() const { return scales() + k / block * 4; }
    size_t sums() const { return zeros() + k / sub * 4; }
    size_t size() const {
        if (row == Row::codes) return (sums() + (mins ? k / sub * (super ? 2 : 4) : 0) + 63) & ~size_t{63};
        // A cache line more: rows at a distance of a power of two would drive each other out of the L1.
        return ((static_cast<size_t>(filled(k)) * (row == Row::bf16 ? 2 : 4) + 63) & ~size_t{63}) + 64;
    }
};

using Tile = void (*)(const uint8_t *panel, const int8_t *row, size_t stride, const RowForm &rows, int64_t from,
                      int64_t to, float *out, size_t out_stride, int columns);
// `columns` outputs of R rows over k = from..to, both at the bounds of blocks (of QUAD k-values, or K, of 16-bit
// numbers); adds to `out` unless from is 0. Strides: rows in bytes, out in floats.

// Rows of activations are quantised as zeros where nothing is larger: a scale would be no normal number, and
// its inverse might be infinite.
constexpr float NOTHING = 1e-35f;

// The same for any number of rows; quicker than tiles where these are more than the most that a tile has.
using Tall = void (*)(const uint8_t *panel, const int8_t *row, size_t stride, const RowForm &rows, int64_t from, int64_t to,
                      float *out, size_t out_stride, int columns, int64_t count);

// The tiles of a type for 1, 2 .. most rows.
struct Tiles {
    const Tile *by_rows = nullptr;
    int most = 0;
    Tall tall = nullptr;

    explicit operator bool() const { return by_rows != nullptr; }
    Tile of(int64_t rows) const { return by_rows[rows - 1]; }
};

struct Kind {
    int type;
    const char *name;
    Form form;
    size_t file_block;  // bytes of one block in the file
};

const Kind *kind_of(int type);
const Kind *kinds(int &count);

// Fills panels [first, last) of a matrix of `columns` x k from its file form.
void pack(const Kind &kind, const uint8_t *file, int64_t columns, int64_t k, uint8_t *to, int64_t first, int64_t last);

// One column of a panel as k numbers, what pack() was given.
void unpack(const Form &form, const uint8_t *panel, int64_t k, int column, float *to);

// The kernels of an instruction set; a type may have no tiles.
struct Kernels {
    const char *isa;
    Tiles (*tiles)(int type);
    void (*quantise)(const RowForm &, const float *, int8_t *);  // or rounds, or copies, as the form says
    bool dpbf16;                                                 // multiplies BF16 with rows that are, too
    const struct AttentionKernel *attention;                     // see attention.h; nullptr: none

    RowForm rows(const Form &form, int64_t k) const { return RowForm(form, k, dpbf16); }
};
// The best of this processor, or those that INHOUSE_KERNELS_ISA asks for; nullptr and why there are none.
const Kernels *best_kernels(std::string *why = nullptr);

}  // namespace inhouse
