// What a kernel reaches on one thread: usage: micro [TYPE ...]
//
// For each type and number of rows a product of 1536 columns and K = 3072 is repeated, the best of several
// tries counts. GOPS counts a multiplication and an addition of each weight with each row; the share is of a
// peak that is measured first, with nothing but independent vpdpbusd on registers (or the AVX2 instructions
// that stand for it; for F16 vfmadd231ps, for BF16 vdpbf16ps where it is used). For one row, which memory
// limits, also how fast weights were read. Between tries of one row the caches are filled with something else,
// as they are when a model is decoded.
#include "../src/form.h"
#include "peak.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

using namespace inhouse;

namespace {

constexpr int64_t COLUMNS = 1536, K = 3072, MOST = 96;
constexpr int TRIES = 7;

// Random codes, but factors that are numbers: where the 16-bit ones of each type stand in its block.
std::vector<uint8_t> random_file(const Kind &kind, std::mt19937 &dice) {
    std::vector<int> halves;
    switch (kind.type) {
        case 3: case 7: case 12: case 13: halves = {0, 2}; break;
        case 10: halves = {80, 82}; break;
        case 11: halves = {108}; break;
        case 14: halves = {208}; break;
        case 39: break;
        default: halves = {0};
    }
    std::vector<uint8_t> file(static_cast<size_t>(COLUMNS * (K / kind.form.block())) * kind.file_block);
    for (uint8_t &byte : file) byte = static_cast<uint8_t>(dice());
    for (size_t at = 0; at < file.size(); at += kind.file_block) {
        for (const int where : halves) {
            const auto bits = static_cast<uint16_t>(0x2000 | (dice() & 0x3ff));
            std::memcpy(&file[at + static_cast<size_t>(where)], &bits, 2);
        }
        if (halves.empty()) file[at] = static_cast<uint8_t>(120 + (dice() & 7));
    }
    return file;
}

class Bench {
  public:
    Bench(const Kernels &kernels, const Kind &kind, std::mt19937 &dice)
        : kernels_(kernels), kind_(kind), form_(kernels.rows(kind.form, K)), packed_(static_cast<size_t>(COLUMNS / PANEL) * kind.form.panel(K)),
          rows_(static_cast<size_t>(MOST) * form_.size()), out_(static_cast<size_t>(MOST * COLUMNS)) {
        const std::vector<uint8_t> file = random_file(kind, dice);
        packing_ = best_of(2, [&] { pack(kind, file.data(), COLUMNS, K, packed_.data(), 0, COLUMNS / PANEL); });
        std::normal_distribution<float> normal;
        std::vector<float> x(static_cast<size_t>(K));
        for (int64_t r = 0; r < MOST; r++) {
            for (float &value : x) value = normal(dice);
            quantising_ = best_of(1, [&] { kernels.quantise(form_, x.data(), &rows_[static_cast<size_t>(r) * form_.size()]); });
        }
    }

    // Seconds of a product with so many rows, in tiles of nearly equal height as in product.cpp.
    double seconds(int64_t count, Caches &caches) {
        double best = 1e9;
        for (int i = 0; i < TRIES; i++) {
            if (count == 1) caches.fill();
            best = std::min(best, best_of(1, [&] { product(count); }));
        }
        return best;
    }

    double bytes() const { return static_cast<double>(packed_.size()); }
    double packing() const { return packing_ / COLUMNS / K * 1e9; }
    double quantising() const { return quantising_ / K * 1e9; }

  private:
    void product(int64_t count) {
        const Tiles tiles = kernels_.tiles(kind_.type);
        for (int64_t p = 0; p < COLUMNS / PANEL; p++)
            for (int64_t done = 0, left = (count + tiles.most - 1) / tiles.most; left > 0; left--) {
                const int64_t height = (count - done + left - 1) / left;
                tiles.of(height)(&packed_[static_cast<size_t>(p) * kind_.form.panel(K)], &rows_[static_cast<size_t>(done) * form_.size()],
                                  form_.size(), form_, 0, K, &out_[static_cast<size_t>(done * COLUMNS + p * PANEL)], COLUMNS, PANEL);
                done += height;
            }
    }

    const Kernels &kernels_;
    const Kind &kind_;
    RowForm form_;
    std::vector<uint8_t> packed_;
    std::vector<int8_t> rows_;
    std::vector<float> out_;
    double packing_ = 0, quantising_ = 0;
};

bool wanted(const Kind &kind, int count, char **names) {
    for (int i = 1; i < count; i++)
        if (std::strcmp(names[i], kind.name) == 0) return true;
    return count == 1;
}

}  // namespace

int main(int count, char **names) {
    const Kernels *kernels = best_kernels();
    if (!kernels) {
        std::puts("there are no kernels for this processor");
        return 1;
    }
    const bool has_vnni = std::strstr(kernels->isa, "avx512") != nullptr;
    const double most = has_vnni ? peak(vnni, 64) : peak(avx2, 32);
    const double floats = has_vnni ? peak(fma512, 16) : peak(fma256, 8), pairs = kernels->dpbf16 ? peak(dpbf16, 32) : floats;
    std::printf("%s, peak of %s on one thread: %.0f GOPS, of vfmadd231ps %.0f", kernels->isa, has_vnni ? "vpdpbusd" : "vpmaddubsw + vpaddw", most, floats);
    if (kernels->dpbf16) std::printf(", of vdpbf16ps %.0f", pairs);
    std::puts("");
    std::printf("%lld columns, K %lld; GOPS and share of the peak by rows\n\n", static_cast<long long>(COLUMNS), static_cast<long long>(K));
    const std::vector<int64_t> heights = {1, 2, 4, 6, 8, 12, 16, MOST};
    std::printf("type    1 row, GB/s");
    for (const int64_t rows : heights) std::printf("%12s", (std::to_string(rows) + (rows == 1 ? " row" : " rows")).c_str());
    std::printf("   pack ns/w  quantise ns/v\n");
    std::mt19937 dice(1);
    Caches caches;
    int kinds_count;
    const Kind *all = kinds(kinds_count);
    for (int i = 0; i < kinds_count; i++) {
        if (!wanted(all[i], count, names) || !kernels->tiles(all[i].type)) continue;
        const double of = !all[i].form.plain ? most : all[i].form.bf16 ? pairs : floats;
        Bench bench(*kernels, all[i], dice);
        std::printf("%-7s %11.1f", all[i].name, bench.bytes() / bench.seconds(1, caches) / 1e9);
        for (const int64_t rows : heights) {
            const double gops = 2.0 * COLUMNS * K * static_cast<double>(rows) / bench.seconds(rows, caches) / 1e9;
            std::printf("%7.0f %3.0f%%", gops, 100 * gops / of);
        }
        std::printf("   %9.2f  %13.2f\n", bench.packing(), bench.quantising());
        std::fflush(stdout);
    }
    return 0;
}
