// Products of many rows at once: of the matrix unit, where there is one, and of the emulated one.
#include "../src/amx.h"
#include "matrix.h"

#include <cmath>

using namespace inhouse;

namespace {

struct Many {
    const Kernels &kernels;
    const Matrix &m;
    RowForm form;
    Guarded<int8_t> rows;
    int64_t count;

    Many(const Kernels &kernels, const Matrix &m, const std::vector<float> &x, int64_t count)
        : kernels(kernels), m(m), form(kernels.rows(m.kind.form, m.k)), rows(form.size() * static_cast<size_t>(count)), count(count) {
        for (int64_t r = 0; r < count; r++) kernels.quantise(form, &x[static_cast<size_t>(r * m.k)], rows.data() + static_cast<size_t>(r) * form.size());
    }

    static int width(const Matrix &m, int64_t panel) { return static_cast<int>(std::min<int64_t>(PANEL, m.columns - panel * PANEL)); }

    // K in two parts if `cut` is not 0; `tall`, or tiles.
    Guarded<float> product(int64_t panel, int64_t stride, int64_t cut, bool tall) const {
        Guarded<float> out(static_cast<size_t>((count - 1) * stride + width(m, panel)));
        const Tiles tiles = kernels.tiles(m.kind.type);
        for (const auto &[from, to] : cut ? std::vector<std::pair<int64_t, int64_t>>{{0, cut}, {cut, m.k}} : std::vector<std::pair<int64_t, int64_t>>{{0, m.k}}) {
            if (tall) {
                tiles.tall(m.panel(panel), rows.data(), form.size(), form, from, to, out.data(), static_cast<size_t>(stride), width(m, panel), count);
                continue;
            }
            for (int64_t r = 0; r < count; r += tiles.most)
                tiles.of(std::min<int64_t>(tiles.most, count - r))(m.panel(panel), rows.data() + static_cast<size_t>(r) * form.size(), form.size(), form, from, to,
                                                                    out.data() + r * stride, static_cast<size_t>(stride), width(m, panel));
        }
        CHECK(out.whole(), "a product wrote beside its outputs");
        return out;
    }
};

bool same(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0 || (std::isnan(a) && std::isnan(b)); }

// Of codes: what tiles give, to the last bit. Of BF16, whose sums are made in another order: what the reference gives.
void compare(const Kernels &kernels, const Matrix &m, int64_t count, Values values, bool cut, check::Dice &dice) {
    const Many many(kernels, m, rows(count, m.k, values, dice), count);
    const int64_t whole = m.kind.form.plain ? QUAD : m.kind.form.block();
    const int64_t at = cut && m.k > whole ? dice.between(1, (m.k - 1) / whole) * whole : 0;
    for (int64_t p = 0; p < m.panels(); p++) {
        const int64_t width = Many::width(m, p), stride = width + dice.between(0, 40);
        const auto tall = many.product(p, stride, at, true), tiles = many.product(p, stride, at, false);
        for (int64_t r = 0; r < count; r++) {
            const reference::Row row = m.kind.form.plain ? read(many.form, many.rows.data() + static_cast<size_t>(r) * many.form.size()) : reference::Row{};
            for (int64_t c = 0; c < (r + 1 < count ? stride : width); c++) {
                const auto i = static_cast<size_t>(r * stride + c);
                if (m.kind.form.plain && c < width) {
                    const auto sum = reference::product(m.meaning[static_cast<size_t>(p * PANEL + c)], row);
                    CHECK(sum.agrees(tall[i]), "row ", r, " of ", count, ", column ", c, ", k ", m.k, ": ", tall[i], " and not ", sum.value);
                } else {
                    CHECK(same(tall[i], tiles[i]), "row ", r, " of ", count, ", column ", c, " of ", width, ", k ", m.k, " cut at ", at, ": ", tall[i],
                          " and with tiles ", tiles[i]);
                }
            }
        }
    }
}

void heights(const Kernels &kernels, const Kind &kind) {
    check::Dice dice(1500 + static_cast<uint64_t>(kind.type));
    const Matrix m(kind, 33, k_of(kind, 3), reference::Scales::ordinary, dice);
    for (int64_t count = 1; count <= 50; count++) compare(kernels, m, count, Values::ordinary, false, dice);
    for (const int64_t count : {95, 96, 97, 112, 193}) compare(kernels, m, count, Values::ordinary, true, dice);
}

void shapes(const Kernels &kernels, const Kind &kind) {
    check::Dice dice(1600 + static_cast<uint64_t>(kind.type));
    for (int i = 0; i < check::rounds; i++) {
        const auto scales = dice.chance(0.5) ? reference::Scales::extreme : reference::Scales::ordinary;
        const Matrix m(kind, dice.between(1, 40), some_k(kind, kind.form.block() == 32 ? 30 : 4, dice), scales, dice);
        compare(kernels, m, dice.between(1, 40), dice.chance(0.5) ? Values::extreme : Values::ordinary, dice.chance(0.5), dice);
    }
    const Matrix deep(kind, 17, 4096 + 256, reference::Scales::ordinary, dice);
    compare(kernels, deep, 37, Values::ordinary, true, dice);
}

// What is no number in a row, or in a scale, shows in its outputs only.
void strange(const Kernels &kernels, const Kind &kind) {
    check::Dice dice(1700 + static_cast<uint64_t>(kind.type));
    const auto &type = reference::type(kind.type);
    const int64_t columns = 32, k = k_of(kind, 3), count = 37;
    const auto file = reference::file(type, columns, k, reference::Scales::ordinary, dice);
    auto x = rows(count, k, Values::ordinary, dice);
    const Matrix whole(kind, columns, k, file);
    const auto good = Many(kernels, whole, x, count).product(0, columns, 0, true);
    const std::vector<float> none = {std::nanf(""), INFINITY, -INFINITY};
    for (int i = 0; i < 8; i++) {
        const int64_t row = dice.between(0, count - 1), column = type.halves.empty() ? -1 : dice.between(0, columns - 1);
        auto broken = file;
        if (column >= 0) {
            const uint16_t bits = kind.form.plain && kind.form.bf16 ? 0x7f80 : 0x7c00;
            const int64_t blocks = k / type.block, block = column * blocks + dice.between(0, blocks - 1);
            std::memcpy(&broken[static_cast<size_t>(block * type.bytes + dice.of(type.halves))], &bits, sizeof bits);
        }
        auto changed = x;
        changed[static_cast<size_t>(row * k + dice.between(0, k - 1))] = dice.of(none);
        const Matrix m(kind, columns, k, broken);
        const auto found = Many(kernels, m, changed, count).product(0, columns, 0, true);
        for (int64_t at = 0; at < count * columns; at++) {
            const float value = found[static_cast<size_t>(at)];
            if (at / columns == row || at % columns == column) {
                CHECK(!std::isfinite(value), "row ", at / columns, " column ", at % columns, " is ", value, "; row ", row, " or column ", column, " is no number");
            } else {
                CHECK(same(value, good[static_cast<size_t>(at)]), "row ", at / columns, " column ", at % columns, " changed");
            }
        }
    }
}

template <void (*Test)(const Kernels &, const Kind &)>
void where_tall(const Kernels &kernels, const Kind &kind) {
    if (kernels.tiles(kind.type).tall) Test(kernels, kind);
}

// The imitation is right, and no quicker; a unit that is none is found out in a child process.
void trial() {
    if (const Kernels *emulated = emulated_amx()) {
        int count;
        const Kind *all = kinds(count);
        uint64_t tall = 0;
        for (int i = 0; i < count; i++)
            if (emulated->tiles(all[i].type).tall) tall |= uint64_t{1} << all[i].type;
        CHECK(types_worth(*emulated, false) == tall, "a type was found to be wrong");
        CHECK(types_worth(*emulated, true) == 0, "the imitation is quicker than AVX-512");
        std::string why;
        CHECK(worthwhile(AVX512_BF16, why) == &AVX512_BF16 && why.empty(), why);
        if (!has_amx()) CHECK(worthwhile(AMX, why) == &AVX512_BF16 && !why.empty(), "it did not fail");
    }
}

}  // namespace

TEST(the_matrix_unit_is_tried_before_it_is_used) { trial(); }
TEST(many_rows_at_once_give_what_tiles_give_to_the_last_bit) { for_each_kernel(where_tall<heights>); }
TEST(many_rows_at_once_agree_in_odd_shapes_and_with_extreme_numbers) { for_each_kernel(where_tall<shapes>); }
TEST(what_is_no_number_shows_in_its_outputs_only_with_many_rows) { for_each_kernel(where_tall<strange>); }
