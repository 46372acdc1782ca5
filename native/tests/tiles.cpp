// Packing, quantising and single tiles.
#include "matrix.h"

#include <cmath>

using namespace inhouse;

namespace {

// Multiplies `count` rows by one panel, K cut at `cuts`; outputs have a stride with room between.
struct Tried {
    int64_t stride;
    Guarded<float> out;
    std::vector<reference::Row> rows;

    Tried(const Kernels &kernels, const Matrix &m, int64_t panel, const std::vector<float> &x, int64_t count,
          const std::vector<int64_t> &cuts, int64_t stride)
        : stride(stride), out(static_cast<size_t>((count - 1) * stride + width(m, panel))) {
        const RowForm form = kernels.rows(m.kind.form, m.k);
        Guarded<int8_t> room(form.size() * static_cast<size_t>(count));
        for (int64_t r = 0; r < count; r++) {
            int8_t *row = room.data() + static_cast<size_t>(r) * form.size();
            kernels.quantise(form, &x[static_cast<size_t>(r * m.k)], row);
            rows.push_back(read(form, row));
        }
        CHECK(room.whole(), "quantising wrote beside its rows");
        const Tile tile = kernels.tiles(m.kind.type).of(count);
        for (size_t i = 0; i + 1 < cuts.size(); i++)
            tile(m.panel(panel), room.data(), form.size(), form, cuts[i], cuts[i + 1], out.data(), static_cast<size_t>(stride), width(m, panel));
        CHECK(out.whole(), "a tile wrote beside its outputs");
        for (int64_t r = 0; r + 1 < count; r++)
            for (int64_t c = width(m, panel); c < stride; c++)
                CHECK(Guarded<float>::untouched(out[static_cast<size_t>(r * stride + c)]), "a tile wrote between its rows, at ", r, ",", c);
    }

    static int width(const Matrix &m, int64_t panel) { return static_cast<int>(std::min<int64_t>(PANEL, m.columns - panel * PANEL)); }

    void agrees(const Matrix &m, int64_t panel) {
        for (size_t r = 0; r < rows.size(); r++)
            for (int c = 0; c < width(m, panel); c++) {
                const auto sum = reference::product(m.meaning[static_cast<size_t>(panel * PANEL + c)], rows[r]);
                const float found = out[r * static_cast<size_t>(stride) + static_cast<size_t>(c)];
                CHECK(sum.agrees(found), "row ", r, " column ", panel * PANEL + c, " of ", m.columns, ", k ", m.k, ": ", found,
                      " and not ", sum.value, " (size ", sum.size, ")");
            }
    }
};

std::vector<int64_t> cuts_of(const Matrix &m, check::Dice &dice) {
    std::vector<int64_t> cuts = {0};
    const int64_t whole = m.kind.form.plain ? QUAD : 1;
    while (cuts.back() < m.k) cuts.push_back(std::min(m.k, cuts.back() + (some_k(m.kind, 5, dice) + whole - 1) / whole * whole));
    return cuts;
}

void all_panels(const Kernels &kernels, const Matrix &m, int64_t count, Values values, bool whole, check::Dice &dice) {
    const auto x = rows(count, m.k, values, dice);
    const std::vector<int64_t> cuts = whole ? std::vector<int64_t>{0, m.k} : cuts_of(m, dice);
    for (int64_t p = 0; p < m.panels(); p++) {
        Tried tried(kernels, m, p, x, count, cuts, m.columns + dice.between(0, 9));
        tried.agrees(m, p);
    }
}

void widths_and_heights(const Kernels &kernels, const Kind &kind) {
    check::Dice dice(static_cast<uint64_t>(kind.type));
    for (const int64_t columns : {1, 15, 16, 17, 31, 32, 33, 72}) {
        const Matrix m(kind, columns, k_of(kind, 3), reference::Scales::ordinary, dice);
        for (int64_t count = 1; count <= kernels.tiles(m.kind.type).most; count++) all_panels(kernels, m, count, Values::ordinary, true, dice);
    }
}

void lengths(const Kernels &kernels, const Kind &kind) {
    check::Dice dice(100 + static_cast<uint64_t>(kind.type));
    for (const int64_t k : {k_of(kind, 1), k_of(kind, 2), int64_t{768}, int64_t{8960}})
        for (const bool whole : {true, false}) {
            const Matrix m(kind, 33, k, reference::Scales::ordinary, dice);
            for (const int64_t count : {1, 6}) all_panels(kernels, m, count, Values::ordinary, whole, dice);
        }
}

void extremes(const Kernels &kernels, const Kind &kind) {
    check::Dice dice(200 + static_cast<uint64_t>(kind.type));
    for (int i = 0; i < check::rounds; i++) {
        const Matrix m(kind, dice.between(1, 40), some_k(kind, 4, dice), reference::Scales::extreme, dice);
        all_panels(kernels, m, dice.between(1, kernels.tiles(m.kind.type).most), Values::extreme, dice.chance(0.5), dice);
    }
}

// A row of numbers is what it was, or the nearest numbers of 8 bits; what is denormal is nothing.
void rounding(const RowForm &form, const reference::Row &row, const std::vector<float> &x) {
    for (size_t i = 0; i < x.size(); i++) {
        const double value = static_cast<double>(x[i]), off = std::abs(row.values[i] - value);
        CHECK(off <= (form.row == Row::bf16 ? std::abs(value) / 256 + 1.2e-38 : 0), "value ", i, " is ", value, ", not ", row.values[i]);
    }
}

// The codes of a row are the nearest ones, in all its blocks, and the sums beside them are theirs.
void quantising(const Kernels &kernels, const Kind &kind) {
    check::Dice dice(300 + static_cast<uint64_t>(kind.type));
    for (int i = 0; i < check::rounds; i++) {
        const int64_t k = some_k(kind, 6, dice);
        const RowForm form = kernels.rows(kind.form, k);
        const auto x = rows(1, k, dice.chance(0.5) ? Values::extreme : Values::ordinary, dice);
        Guarded<int8_t> room(form.size());
        kernels.quantise(form, x.data(), room.data());
        CHECK(room.whole(), "quantising wrote beside its row");
        const reference::Row row = read(form, room.data());
        if (form.row != Row::codes) {
            rounding(form, row, x);
            continue;
        }
        for (int64_t at = 0; at < k; at++) {
            const double scale = row.scales[static_cast<size_t>(at / form.block)], code = row.codes[static_cast<size_t>(at)];
            const double off = std::abs(code * scale - static_cast<double>(x[static_cast<size_t>(at)]));
            CHECK(std::isfinite(scale) && scale >= 0 && off <= 0.5001 * scale + 1.01e-35, "value ", at, " is ", x[static_cast<size_t>(at)],
                  ", not ", code, " * ", scale);
        }
        for (int64_t s = 0; s < k / form.sub; s++) {
            int32_t sum = 0, zero;
            for (int64_t at = 0; at < form.sub; at++) sum += row.codes[static_cast<size_t>(s * form.sub + at)];
            std::memcpy(&zero, room.data() + form.zeros() + 4 * s, 4);
            CHECK(zero == -form.zero * sum, "sub-block ", s, ": ", zero, " for a sum of ", sum);
        }
    }
}

// What 8 bits for activations cost (as codes, or 8 of precision with BF16): about as much as in the engine, which
// rounds to the same number of bits.
void accuracy(const Kernels &kernels, const Kind &kind) {
    check::Dice dice(400 + static_cast<uint64_t>(kind.type));
    const Matrix m(kind, 32, 1536, reference::Scales::ordinary, dice);
    const auto x = rows(6, m.k, Values::ordinary, dice);
    Tried tried(kernels, m, 0, x, 6, {0, m.k}, 32);
    double error = 0, size = 0;
    for (size_t r = 0; r < 6; r++)
        for (size_t c = 0; c < 32; c++) {
            double exact = 0;
            for (size_t i = 0; i < static_cast<size_t>(m.k); i++) exact += m.meaning[c].values[i] * static_cast<double>(x[r * static_cast<size_t>(m.k) + i]);
            error += std::pow(exact - static_cast<double>(tried.out[r * 32 + c]), 2);
            size += exact * exact;
        }
    const double most = kernels.rows(kind.form, m.k).row == Row::codes ? 2e-4 : kind.form.bf16 && kernels.dpbf16 ? 5e-6 : 1e-12;
    CHECK(error <= most * size, "the error is ", error / size, " of the result");
}

}  // namespace

TEST(tiles_of_all_widths_and_heights_agree_with_the_reference) { for_each_kernel(widths_and_heights); }
TEST(tiles_of_one_block_and_of_many_agree_whole_and_in_parts) { for_each_kernel(lengths); }
TEST(tiles_agree_with_extreme_scales_and_rows) { for_each_kernel(extremes); }
TEST(rows_are_rounded_to_the_nearest_codes_or_numbers) { for_each_kernel(quantising); }
TEST(eight_bits_cost_as_much_accuracy_as_in_the_engine) { for_each_kernel(accuracy); }
