// Whole products as the engine asks for them, with 1 to 5 threads.
#include "matrix.h"
#include "threads.h"

#include "../src/product.h"

using namespace inhouse;

namespace {

constexpr int MUL_MAT = 1, MUL_MAT_ID = 2;

Tensor tensor(int type, void *data, size_t element, int64_t a, int64_t b = 1, int64_t c = 1, int64_t d = 1) {
    Tensor made{};
    made.type = type;
    made.data = data;
    const int64_t ne[DIMS] = {a, b, c, d};
    for (int i = 0; i < DIMS; i++) made.ne[i] = ne[i];
    made.nb[0] = element;
    made.nb[1] = element * static_cast<size_t>(a);
    made.nb[2] = made.nb[1] * static_cast<size_t>(b);
    made.nb[3] = made.nb[2] * static_cast<size_t>(c);
    return made;
}

// Computes `op` with a work buffer of just the size that was asked for.
void compute(const Kernels &kernels, const Kind &kind, Tensor &op, int threads, check::Dice &dice) {
    OP_MUL_MAT = MUL_MAT;
    OP_MUL_MAT_ID = MUL_MAT_ID;
    Packed packed(Threads::engine(), kernels, kind);
    size_t size = 0;
    CHECK(packed.work_size(threads, &op, size), "no size of work");
    Guarded<uint8_t> room(size, static_cast<size_t>(dice.between(0, 15)) * 4);
    std::atomic<bool> done{true};
    Threads(threads).run(room.data(), size, [&](Work &work) {
        if (!packed.compute_forward(&work, &op)) done = false;
    });
    CHECK(done, "the product was declined");
    CHECK(room.whole(), "the work buffer of ", size, " bytes was overstepped with ", threads, " threads");
}

bool same(const Guarded<float> &a, const Guarded<float> &b) { return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0; }

void check_out(const Guarded<float> &out, const Guarded<float> &first, int threads, int64_t rows, int64_t columns) {
    CHECK(out.whole(), "the product wrote beside its outputs");
    CHECK(same(out, first), threads, " threads have another result than 1, ", rows, " rows by ", columns);
}

// rows = a x b x c in a tensor whose rows have room between them and may be in another order.
void plain(const Kernels &kernels, const Matrix &m, int64_t a, int64_t b, int64_t c, Values values, check::Dice &dice) {
    const int64_t count = a * b * c, gap = dice.between(0, 3) * 8, pitch = m.k + gap;
    const auto x = rows(count, m.k, values, dice);
    const bool swapped = dice.chance(0.5);  // dimensions 1 and 2 lie the other way around
    std::vector<float> room(static_cast<size_t>(count * pitch));
    Tensor rows_tensor = tensor(F32, room.data(), 4, m.k, a, b, c);
    rows_tensor.nb[1] = static_cast<size_t>(swapped ? b * pitch : pitch) * 4;
    rows_tensor.nb[2] = static_cast<size_t>(swapped ? pitch : a * pitch) * 4;
    rows_tensor.nb[3] = static_cast<size_t>(a * b * pitch) * 4;
    for (int64_t i = 0; i < count; i++) {
        const int64_t at = (swapped ? i % a * b + i / a % b : i % a + i / a % b * a) + i / (a * b) * a * b;
        std::copy(&x[static_cast<size_t>(i * m.k)], &x[static_cast<size_t>(i * m.k)] + m.k, &room[static_cast<size_t>(at * pitch)]);
    }
    Tensor weights = tensor(m.kind.type, const_cast<uint8_t *>(m.packed.data()), 1, m.k, m.columns);
    Guarded<float> first(static_cast<size_t>(count * m.columns));
    for (int threads = 1; threads <= 5; threads++) {
        Guarded<float> out(first.size());
        Tensor op = tensor(F32, out.data(), 4, m.columns, a, b, c);
        op.op = MUL_MAT;
        op.src[0] = &weights;
        op.src[1] = &rows_tensor;
        compute(kernels, m.kind, op, threads, dice);
        if (threads == 1) first = out;
        check_out(out, first, threads, count, m.columns);
    }
    for (int64_t r = 0; r < count; r++) {
        const reference::Row row = quantised(kernels, m.kind, &x[static_cast<size_t>(r * m.k)], m.k);
        for (int64_t n = 0; n < m.columns; n++) {
            const auto sum = reference::product(m.meaning[static_cast<size_t>(n)], row);
            const float found = first[static_cast<size_t>(r * m.columns + n)];
            CHECK(sum.agrees(found), "row ", r, " of ", a, " x ", b, " x ", c, ", column ", n, " of ", m.columns, ", k ", m.k, ": ",
                  found, " and not ", sum.value);
        }
    }
}

void counts(const Kernels &kernels, const Kind &kind) {
    check::Dice dice(1000 + static_cast<uint64_t>(kind.type));
    const Matrix m(kind, 33, k_of(kind, 2), reference::Scales::ordinary, dice);
    for (int64_t count = 0; count <= 13; count++) plain(kernels, m, count, 1, 1, Values::ordinary, dice);
    plain(kernels, m, 97, 1, 1, Values::ordinary, dice);
    plain(kernels, m, 3, 5, 2, Values::ordinary, dice);
}

// More panels than groups, and more of K than a pass takes.
void large(const Kernels &kernels, const Kind &kind) {
    check::Dice dice(1100 + static_cast<uint64_t>(kind.type));
    const Matrix wide(kind, 32 * 41 + 1, 256, reference::Scales::ordinary, dice), deep(kind, 33, 256 * 18, reference::Scales::ordinary, dice);
    for (const int64_t count : {1, 5, 8}) {
        plain(kernels, wide, count, 1, 1, Values::ordinary, dice);
        plain(kernels, deep, count, 1, 1, Values::ordinary, dice);
    }
}

void fuzz(const Kernels &kernels, const Kind &kind) {
    check::Dice dice(1200 + static_cast<uint64_t>(kind.type));
    const std::vector<int64_t> columns = {1, 31, 32, 33, 64, 72, 129};
    for (int i = 0; i < check::rounds / 4; i++) {
        const auto scales = dice.chance(0.5) ? reference::Scales::extreme : reference::Scales::ordinary;
        const Matrix m(kind, dice.of(columns), some_k(kind, 4, dice), scales, dice);
        plain(kernels, m, dice.between(1, 20), dice.between(1, 2), dice.between(1, 2), dice.chance(0.5) ? Values::extreme : Values::ordinary, dice);
    }
}

struct Experts {
    int64_t count, used, tokens;
    bool shared;  // all experts of a token get the same row
    std::vector<int32_t> chosen;
};

void by_expert(const Kernels &kernels, const Kind &kind, const Experts &experts, int64_t columns, int64_t k, check::Dice &dice) {
    std::vector<Matrix> all;
    const size_t one = static_cast<size_t>((columns + PANEL - 1) / PANEL) * kind.form.panel(k);
    std::vector<uint8_t> packed;
    for (int64_t e = 0; e < experts.count; e++) {
        all.emplace_back(kind, columns, k, reference::Scales::ordinary, dice);
        packed.insert(packed.end(), all.back().packed.data(), all.back().packed.data() + one);
    }
    const int64_t per_token = experts.shared ? 1 : experts.used, pitch = experts.used + dice.between(0, 2);
    auto x = rows(per_token * experts.tokens, k, Values::ordinary, dice);
    std::vector<int32_t> ids(static_cast<size_t>(pitch * experts.tokens), -7);
    for (int64_t i = 0; i < experts.used * experts.tokens; i++)
        ids[static_cast<size_t>(i / experts.used * pitch + i % experts.used)] = experts.chosen[static_cast<size_t>(i)];

    Tensor weights = tensor(kind.type, packed.data(), 1, k, columns, experts.count);
    Tensor rows_tensor = tensor(F32, x.data(), 4, k, per_token, experts.tokens);
    Tensor ids_tensor = tensor(I32, ids.data(), 4, experts.used, experts.tokens);
    ids_tensor.nb[1] = static_cast<size_t>(pitch) * 4;
    Guarded<float> first(static_cast<size_t>(columns * experts.used * experts.tokens));
    for (int threads = 1; threads <= 5; threads++) {
        Guarded<float> out(first.size());
        Tensor op = tensor(F32, out.data(), 4, columns, experts.used, experts.tokens);
        op.op = MUL_MAT_ID;
        op.src[0] = &weights;
        op.src[1] = &rows_tensor;
        op.src[2] = &ids_tensor;
        compute(kernels, kind, op, threads, dice);
        if (threads == 1) first = out;
        check_out(out, first, threads, experts.used * experts.tokens, columns);
    }
    for (int64_t i = 0; i < experts.used * experts.tokens; i++) {
        const int64_t token = i / experts.used, slot = i % experts.used;
        const float *from = &x[static_cast<size_t>((token * per_token + slot % per_token) * k)];
        const reference::Row row = quantised(kernels, kind, from, k);
        const Matrix &m = all[static_cast<size_t>(experts.chosen[static_cast<size_t>(i)])];
        for (int64_t n = 0; n < columns; n++) {
            const auto sum = reference::product(m.meaning[static_cast<size_t>(n)], row);
            const float found = first[static_cast<size_t>(i * columns + n)];
            CHECK(sum.agrees(found), "token ", token, " slot ", slot, " expert ", experts.chosen[static_cast<size_t>(i)], " column ", n,
                  " of ", columns, ": ", found, " and not ", sum.value);
        }
    }
}

Experts random_experts(check::Dice &dice) {
    Experts made{dice.between(1, 9), 0, dice.between(1, 12), dice.chance(0.5), {}};
    made.used = dice.between(1, std::min<int64_t>(made.count, 4));
    for (int64_t i = 0; i < made.used * made.tokens; i++) made.chosen.push_back(static_cast<int32_t>(dice.between(0, made.count - 1)));
    return made;
}

void experts(const Kernels &kernels, const Kind &kind) {
    check::Dice dice(1300 + static_cast<uint64_t>(kind.type));
    const int64_t k = k_of(kind, 2);
    by_expert(kernels, kind, {1, 1, 1, true, {0}}, 33, k, dice);
    by_expert(kernels, kind, {5, 1, 17, true, std::vector<int32_t>(17, 3)}, 33, k, dice);  // all for one, none for the others
    by_expert(kernels, kind, {3, 2, 4, false, {0, 2, 2, 0, 0, 2, 2, 0}}, 72, k, dice);
    for (int i = 0; i < check::rounds / 6; i++) by_expert(kernels, kind, random_experts(dice), dice.between(1, 70), some_k(kind, 2, dice), dice);
}

void strange(const Kernels &kernels, const Kind &kind) {
    check::Dice dice(1400 + static_cast<uint64_t>(kind.type));
    const Matrix m(kind, 33, k_of(kind, 2), reference::Scales::ordinary, dice);
    const int64_t count = 9, bad = 4;
    auto x = rows(count, m.k, Values::ordinary, dice);
    Tensor weights = tensor(kind.type, const_cast<uint8_t *>(m.packed.data()), 1, m.k, m.columns), from = tensor(F32, x.data(), 4, m.k, count);
    std::vector<Guarded<float>> found;
    for (const float value : {1.0f, std::nanf("")}) {
        x[static_cast<size_t>(bad * m.k + 3)] = value;
        found.emplace_back(static_cast<size_t>(count * m.columns));
        Tensor op = tensor(F32, found.back().data(), 4, m.columns, count);
        op.op = MUL_MAT;
        op.src[0] = &weights;
        op.src[1] = &from;
        compute(kernels, kind, op, 2, dice);
    }
    for (size_t i = 0; i < found[0].size(); i++) {
        const bool here = static_cast<int64_t>(i) / m.columns == bad;
        CHECK(here ? found[1][i] != found[1][i] : found[0][i] == found[1][i], "output ", i, " is ", found[1][i], " and was ", found[0][i]);
    }
}

void others(const Kernels &kernels, const Kind &kind) {
    Packed packed(Threads::engine(), kernels, kind);
    OP_MUL_MAT = MUL_MAT;
    OP_MUL_MAT_ID = MUL_MAT_ID;
    Tensor op{};
    op.op = 3;
    Work work{0, 1, 0, nullptr, nullptr, false};
    CHECK(!packed.compute_forward(&work, &op), "it took an operation that it does not know");
}

}  // namespace

TEST(products_of_0_to_13_and_97_rows_agree_with_the_reference) { for_each_kernel(counts); }
TEST(products_in_many_groups_and_passes_agree) { for_each_kernel(large); }
TEST(products_of_random_shapes_agree) { for_each_kernel(fuzz); }
TEST(each_token_is_multiplied_by_its_experts) { for_each_kernel(experts); }
TEST(what_is_no_number_stays_in_its_row_of_a_product) { for_each_kernel(strange); }
TEST(other_operations_are_declined) { for_each_kernel(others); }
