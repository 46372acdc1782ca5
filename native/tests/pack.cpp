// Packing: the same bytes as the plain way makes, whatever the file holds.
#include "matrix.h"
#include "plain_pack.h"

using namespace inhouse;

TEST(packing_makes_the_bytes_of_the_plain_way) {
    check::Dice dice;
    int count;
    const Kind *all = kinds(count);
    for (int i = 0; i < count; i++)
        for (int round = 0; round < check::rounds; round++) {
            const Kind &kind = all[i];
            const int64_t columns = dice.between(1, 100), k = some_k(kind, 20, dice), panels = (columns + PANEL - 1) / PANEL;
            // At odd addresses, and as large as it says: nothing beside a block is read (seen by the sanitizers).
            const size_t size = static_cast<size_t>(columns * (k / kind.form.block())) * kind.file_block, odd = static_cast<size_t>(dice.between(0, 3));
            std::vector<uint8_t> file(odd + size);
            for (uint8_t &byte : file) byte = dice.byte();
            Guarded<uint8_t> ours(static_cast<size_t>(panels) * kind.form.panel(k), odd), plain(ours.size());
            plain_pack(kind, file.data() + odd, columns, k, plain.data());
            const int64_t cut = dice.between(0, panels);
            pack(kind, file.data() + odd, columns, k, ours.data(), 0, cut);
            pack(kind, file.data() + odd, columns, k, ours.data(), cut, panels);
            CHECK(ours.whole(), kind.name, ": packing wrote beside its panels");
            for (size_t at = 0; at < plain.size(); at++)
                CHECK(ours[at] == plain[at], kind.name, " ", columns, " columns, K ", k, ": byte ", at, " is ", int{ours[at]}, " and not ", int{plain[at]});
        }
}
