// For which types the matrix unit is worth it: their products are made with it and without, compared and timed.
#include "amx.h"
#include "child.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#include <immintrin.h>

namespace inhouse {
namespace {

constexpr int64_t ROWS = 96, K = 2048;
constexpr int TRIES = 5;
constexpr int LONGEST = 10;  // seconds

// A panel of numbers of ordinary size in whatever form, and rows for it.
struct Trial {
    RowForm form;
    std::vector<uint8_t> panel;
    std::vector<int8_t> rows;
    std::vector<float> tall, tiles;

    Trial(const Kernels &kernels, const Kind &kind)
        : form(kernels.rows(kind.form, K)),
          panel(kind.form.panel(K)), rows(ROWS * form.size()), tall(ROWS * PANEL), tiles(tall) {
        uint32_t dice = 1;
        for (uint8_t &byte : panel) byte = static_cast<uint8_t>(0x20 + ((dice = dice * 1664525 + 1013904223) >> 28));
        std::vector<float> x(K);
        for (int64_t r = 0; r < ROWS; r++) {
            for (float &value : x) value = static_cast<float>(static_cast<int32_t>(dice = dice * 1664525 + 1013904223) >> 16);
            kernels.quantise(form, x.data(), &rows[static_cast<size_t>(r) * form.size()]);
        }
    }

    const int8_t *row(int64_t r) const { return &rows[static_cast<size_t>(r) * form.size()]; }

    void use_tall(const Tiles &use) { use.tall(panel.data(), rows.data(), form.size(), form, 0, K, tall.data(), PANEL, PANEL, ROWS); }

    void use_tiles(const Tiles &use) {
        for (int64_t r = 0; r < ROWS; r += use.most)
            use.of(std::min<int64_t>(use.most, ROWS - r))(panel.data(), row(r), form.size(), form, 0, K, &tiles[static_cast<size_t>(r * PANEL)], PANEL, PANEL);
    }

    // Sums of BF16 are made in another order.
    bool agree(const Kind &kind) const {
        if (!kind.form.plain) return std::memcmp(tall.data(), tiles.data(), tall.size() * sizeof(float)) == 0;
        double off = 0, size = 0;
        for (size_t i = 0; i < tall.size(); i++) {
            const double one = static_cast<double>(tiles[i]), other = static_cast<double>(tall[i]);
            off += (one - other) * (one - other), size += one * one;
        }
        return off <= 1e-8 * size;
    }
};

template <class Part>
uint64_t ticks(Part part) {
    const uint64_t start = __rdtsc();
    part();
    return __rdtsc() - start;
}

}  // namespace

uint64_t types_worth(const Kernels &kernels, bool quicker) {
    uint64_t good = 0;
    int count;
    const Kind *all = kinds(count);
    for (int i = 0; i < count; i++) {
        const Tiles use = kernels.tiles(all[i].type);
        if (!use.tall) continue;
        Trial trial(kernels, all[i]);
        uint64_t tall = ~uint64_t{0}, tiles = tall;
        for (int t = 0; t < TRIES; t++) {
            tall = std::min(tall, ticks([&] { trial.use_tall(use); }));
            tiles = std::min(tiles, ticks([&] { trial.use_tiles(use); }));
        }
        if (trial.agree(all[i]) && (tall < tiles || !quicker)) good |= uint64_t{1} << all[i].type;
    }
    return good;
}

const Kernels *worthwhile(const Kernels &best, std::string &why) {
    if (&best != &AMX) return &best;
    const char *wanted = std::getenv("INHOUSE_KERNELS_ISA");
    // In a child: a machine that only seems to have the unit costs that, and not the model.
    Child child(LONGEST, [&](const Child::Tell &tell) { tell(std::to_string(types_worth(AMX, !wanted || !*wanted))); });
    const auto told = child.only_line();
    AMX_TYPES = told ? std::strtoull(told->c_str(), nullptr, 10) : 0;
    if (AMX_TYPES) return &AMX;
    why = told ? "amx is not quicker here" : "amx: " + child.wrong();
    return &AVX512_BF16;
}

}  // namespace inhouse
