// Numbers that are none: they show in the outputs that they belong to and nowhere else.
#include "matrix.h"

#include <cmath>
#include <limits>

using namespace inhouse;

namespace {

std::vector<float> multiply(const Kernels &kernels, const Matrix &m, const std::vector<float> &x, int64_t count) {
    const RowForm form = kernels.rows(m.kind.form, m.k);
    std::vector<int8_t> room(form.size() * static_cast<size_t>(count));
    for (int64_t r = 0; r < count; r++)
        kernels.quantise(form, &x[static_cast<size_t>(r * m.k)], room.data() + static_cast<size_t>(r) * form.size());
    std::vector<float> out(static_cast<size_t>(count * m.columns));
    for (int64_t p = 0; p < m.panels(); p++)
        kernels.tiles(m.kind.type).of(count)(m.panel(p), room.data(), form.size(), form, 0, m.k, out.data() + p * PANEL,
                                              static_cast<size_t>(m.columns), static_cast<int>(std::min<int64_t>(PANEL, m.columns - p * PANEL)));
    return out;
}

bool same(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0; }

void in_rows(const Kernels &kernels, const Kind &kind) {
    check::Dice dice(500 + static_cast<uint64_t>(kind.type));
    const std::vector<float> strange = {std::nanf(""), INFINITY, -INFINITY, -std::nanf("")};
    const Matrix m(kind, 33, k_of(kind, 3), reference::Scales::ordinary, dice);
    for (int64_t count = 1; count <= kernels.tiles(m.kind.type).most; count++) {
        auto x = rows(count, m.k, Values::ordinary, dice);
        const auto good = multiply(kernels, m, x, count);
        const int64_t bad = dice.between(0, count - 1);
        x[static_cast<size_t>(bad * m.k + dice.between(0, m.k - 1))] = dice.of(strange);
        const auto found = multiply(kernels, m, x, count);
        for (int64_t i = 0; i < count * m.columns; i++) {
            const float value = found[static_cast<size_t>(i)];
            if (i / m.columns == bad) {
                CHECK(!std::isfinite(value), "row ", bad, " holds no number, and its output ", i % m.columns, " is ", value);
            } else {
                CHECK(same(value, good[static_cast<size_t>(i)]), "row ", bad, " changed an output of row ", i / m.columns);
            }
        }
    }
}

void in_scales(const Kernels &kernels, const Kind &kind) {
    const auto &type = reference::type(kind.type);
    if (type.halves.empty()) return;  // a power of two is always a number
    check::Dice dice(600 + static_cast<uint64_t>(kind.type));
    const int64_t columns = 40, k = k_of(kind, 3), count = 6;
    const auto file = reference::file(type, columns, k, reference::Scales::ordinary, dice);
    const Matrix whole(kind, columns, k, file);
    const auto x = rows(count, k, Values::ordinary, dice);
    const auto good = multiply(kernels, whole, x, count);
    for (const int where : type.halves)
        for (const uint16_t bits : kind.form.plain && kind.form.bf16 ? std::vector<uint16_t>{0x7f80, 0xff80, 0x7fc0} : std::vector<uint16_t>{0x7c00, 0xfc00, 0x7e00}) {
            const int64_t blocks = k / type.block, bad = dice.between(0, columns - 1), block = bad * blocks + dice.between(0, blocks - 1);
            auto broken = file;
            std::memcpy(&broken[static_cast<size_t>(block * type.bytes + where)], &bits, 2);
            const auto found = multiply(kernels, Matrix(kind, columns, k, broken), x, count);
            for (int64_t i = 0; i < count * columns; i++) {
                const float value = found[static_cast<size_t>(i)];
                if (i % columns == bad) {
                    CHECK(!std::isfinite(value), "column ", bad, " has no number as its scale, and an output is ", value);
                } else {
                    CHECK(same(value, good[static_cast<size_t>(i)]), "column ", bad, " changed an output of column ", i % columns);
                }
            }
        }
}

void zeros(const Kernels &kernels, const Kind &kind) {
    check::Dice dice(700 + static_cast<uint64_t>(kind.type));
    const Matrix m(kind, 33, k_of(kind, 2), reference::Scales::extreme, dice);
    for (const float value : multiply(kernels, m, std::vector<float>(static_cast<size_t>(2 * m.k)), 2))
        CHECK(value == 0, "a row of zeros gives ", value);
}

// Too small for a scale that is a normal number: the result may be rounded to nothing, but not to anything else.
void tiny(const Kernels &kernels, const Kind &kind) {
    check::Dice dice(800 + static_cast<uint64_t>(kind.type));
    const Matrix m(kind, 32, k_of(kind, 1), reference::Scales::ordinary, dice);
    for (const float size : {std::numeric_limits<float>::denorm_min(), 1e-40f, 3e-38f, 2e-37f}) {
        std::vector<float> x(static_cast<size_t>(m.k), size);
        x[1] = -size;
        for (const float value : multiply(kernels, m, x, 1)) CHECK(std::abs(value) <= 1e-30f, size, " gives ", value);
    }
}

void huge(const Kernels &kernels, const Kind &kind) {
    check::Dice dice(900 + static_cast<uint64_t>(kind.type));
    const int64_t k = k_of(kind, 1);
    std::vector<float> x(static_cast<size_t>(k));
    for (float &value : x) value = dice.normal() > 0 ? std::numeric_limits<float>::max() : -std::numeric_limits<float>::max();
    const reference::Row row = quantised(kernels, kind, x.data(), k);
    // The next number of BF16 is infinite.
    for (int64_t i = 0; kind.form.plain && i < k; i++)
        CHECK(static_cast<float>(row.values[static_cast<size_t>(i)]) == (kind.form.bf16 && kernels.dpbf16 ? INFINITY : 1) * x[static_cast<size_t>(i)], "the largest number became ",
              row.values[static_cast<size_t>(i)]);
    for (int64_t i = 0; !kind.form.plain && i < k; i++)
        CHECK(row.codes[static_cast<size_t>(i)] == (x[static_cast<size_t>(i)] > 0 ? 127 : -127), "the largest number became ",
              static_cast<int>(row.codes[static_cast<size_t>(i)]));
}

}  // namespace

TEST(what_is_no_number_in_a_row_shows_in_its_outputs_only) { for_each_kernel(in_rows); }
TEST(what_is_no_number_in_a_scale_shows_in_its_column_only) { for_each_kernel(in_scales); }
TEST(rows_of_zeros_give_zeros) { for_each_kernel(zeros); }
TEST(tiny_numbers_give_next_to_nothing) { for_each_kernel(tiny); }
TEST(the_largest_numbers_have_the_largest_codes_or_stay) { for_each_kernel(huge); }
