#include "matrix.h"

#include <cmath>
#include <cstdlib>
#include <set>
#include <utility>

namespace inhouse {

std::vector<const Kernels *> all_kernels() {
    std::vector<const Kernels *> found;
    for (const char *isa : {"amx", "avx512-bf16", "avx512-vnni", "avx-vnni", "avx2"}) {
        setenv("INHOUSE_KERNELS_ISA", isa, 1);
        const Kernels *best = best_kernels();
        if (best && (found.empty() || found.back() != best)) found.push_back(best);
    }
    unsetenv("INHOUSE_KERNELS_ISA");
    if (const Kernels *emulated = emulated_amx()) found.push_back(emulated);
    return found;
}

Matrix::Matrix(const Kind &kind, int64_t columns, int64_t k, reference::Scales scales, check::Dice &dice)
    : Matrix(kind, columns, k, reference::file(reference::type(kind.type), columns, k, scales, dice)) {}

Matrix::Matrix(const Kind &kind, int64_t columns, int64_t k, std::vector<uint8_t> bytes)
    : kind(kind), type(reference::type(kind.type)), columns(columns), k(k), file(std::move(bytes)),
      packed(static_cast<size_t>(panels()) * kind.form.panel(k)) {
    // in two parts, as several threads do
    pack(kind, file.data(), columns, k, packed.data(), 0, panels() / 2);
    pack(kind, file.data(), columns, k, packed.data(), panels() / 2, panels());
    CHECK(packed.whole(), "packing wrote beside its panels");
    for (int64_t c = 0; c < columns; c++) meaning.push_back(reference::column(type, file.data(), c, k));
}

std::vector<float> rows(int64_t count, int64_t k, Values values, check::Dice &dice) {
    std::vector<float> made(static_cast<size_t>(count * k));
    for (int64_t r = 0; r < count; r++) {
        float *row = &made[static_cast<size_t>(r * k)];
        const bool extreme = values == Values::extreme;
        const float scale = extreme ? std::pow(10.0f, static_cast<float>(dice.between(-38, 25))) : 1.0f;
        for (int64_t i = 0; i < k; i++) row[i] = dice.normal() * scale;
        if (!extreme) continue;
        for (int64_t b = 0; b < k / 32; b++)
            if (dice.chance(0.2)) std::fill(row + 32 * b, row + 32 * b + 32, 0.0f);
        if (dice.chance(0.5)) row[dice.between(0, k - 1)] = -1000 * scale;
        if (dice.chance(0.1)) std::fill(row, row + k, 0.0f);
        if (dice.chance(0.1)) std::fill(row, row + k, 1e-45f);
    }
    return made;
}

reference::Row read(const RowForm &form, const int8_t *row) {
    reference::Row made;
    for (int64_t i = 0; form.row != Row::codes && i < filled(form.k); i++) {
        uint16_t half;
        float value;
        std::memcpy(&half, row + 2 * i, 2);
        if (form.row == Row::floats) std::memcpy(&value, row + 4 * i, 4);
        made.values.push_back(form.row == Row::bf16 ? reference::bfloat16(half) : static_cast<double>(value));
        CHECK(i < form.k || made.values.back() == 0, "a row is not filled up with zeros");
    }
    made.values.resize(form.row == Row::codes ? 0 : static_cast<size_t>(form.k));
    if (form.row != Row::codes) return made;
    made.codes.assign(row, row + form.k);
    made.scales.resize(static_cast<size_t>(form.k / form.block));
    std::memcpy(made.scales.data(), row + form.scales(), made.scales.size() * sizeof(float));
    for (int64_t i = 0; i < form.k; i++)
        made.values.push_back(static_cast<double>(made.scales[static_cast<size_t>(i / form.block)]) * made.codes[static_cast<size_t>(i)]);
    return made;
}

reference::Row quantised(const Kernels &kernels, const Kind &kind, const float *row, int64_t k) {
    const RowForm form = kernels.rows(kind.form, k);
    std::vector<int8_t> room(form.size());
    kernels.quantise(form, row, room.data());
    return read(form, room.data());
}

int64_t k_of(const Kind &kind, int64_t blocks) { return kind.form.plain ? 37 * blocks : kind.form.block() * blocks; }

int64_t some_k(const Kind &kind, int64_t blocks, check::Dice &dice) {
    return kind.form.plain ? dice.between(1, 70 * blocks) : k_of(kind, dice.between(1, blocks));
}

void for_each_kernel(void (*test)(const Kernels &, const Kind &)) {
    int count;
    const Kind *all = kinds(count);
    std::set<std::pair<const Tile *, Tall>> done;
    for (const Kernels *kernels : all_kernels())
        for (int i = 0; i < count; i++) {
            const Tiles tiles = kernels->tiles(all[i].type);
            if (!tiles || !done.insert({tiles.by_rows, tiles.tall}).second) continue;
            try {
                test(*kernels, all[i]);
            } catch (const check::Failure &failure) {
                throw check::Failure(check::text(kernels->isa, " ", all[i].name, ": ", failure.what()));
            }
        }
}

}  // namespace inhouse
