// Looking rows up: what was packed comes back.
#include "matrix.h"

#include <cmath>

using namespace inhouse;

TEST(rows_come_back_as_they_were_packed) {
    check::Dice dice;
    int count;
    const Kind *all = kinds(count);
    for (int i = 0; i < count; i++)
        for (const auto scales : {reference::Scales::ordinary, reference::Scales::extreme}) {
            const Matrix m(all[i], dice.between(1, 70), some_k(all[i], 3, dice), scales, dice);
            for (int64_t c = 0; c < m.columns; c++) {
                Guarded<float> row(static_cast<size_t>(m.k));
                unpack(m.kind.form, m.panel(c / PANEL), m.k, static_cast<int>(c % PANEL), row.data());
                CHECK(row.whole(), "unpacking wrote beside its row");
                const auto &meant = m.meaning[static_cast<size_t>(c)];
                for (size_t at = 0; at < row.size(); at++)
                    CHECK(std::abs(row[at] - meant.values[at]) <= 1e-6 * meant.sizes[at] + 1e-37, m.kind.name, " column ", c, " k ", at, ": ", row[at],
                          " and not ", meant.values[at]);
            }
        }
}
