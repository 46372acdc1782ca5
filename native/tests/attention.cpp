// Attention against a plain one in doubles: kinds of caches and masks, shapes, threads, and what is no number.
#include "../src/attention.h"
#include "matrix.h"
#include "threads.h"

#include <cmath>
#include <limits>
#include <set>

using namespace inhouse;

namespace {

constexpr int NUMBER = 77;
constexpr uint16_t CLOSED = 0xfc00, ONE = 0x3c00;
constexpr float INF = std::numeric_limits<float>::infinity();

enum class Mask { none, causal, windows, sequences, all_kinds };

struct Case {
    int k_type = F16, v_type = F16;
    int64_t k = 64, v = 64, tokens = 1, heads = 4, key_heads = 2, sequences = 1, keys = 100;
    Mask mask = Mask::causal;
    int64_t mask_heads = 1;
    float scale = 0.3f, bias = 0, softcap = 0;
    bool sinks = false;

    std::string text() const {
        return check::text("types ", k_type, " ", v_type, ", ", k, " and ", v, " numbers, ", tokens, " tokens, ", heads, " of ", key_heads, " heads, ",
                           sequences, " sequences, ", keys, " keys, mask ", static_cast<int>(mask), " of ", mask_heads, ", scale ", scale, ", bias ",
                           bias, ", cap ", softcap, sinks ? ", sinks" : "");
    }
};

// Keys or values: as they lie, with room between rows, and what they mean.
struct Numbers {
    std::vector<uint8_t> bytes;
    std::vector<double> meaning;  // [row][size]
    size_t stride;

    Numbers(int type, int64_t rows, int64_t size, int64_t gap, check::Dice &dice) : meaning(static_cast<size_t>(rows * size)) {
        std::vector<uint8_t> file;
        size_t row;
        if (type == F32) {
            row = static_cast<size_t>(size) * 4;
            file.resize(row * static_cast<size_t>(rows));
            for (size_t i = 0; i < file.size(); i += 4) {
                const float x = dice.normal();
                std::memcpy(&file[i], &x, 4);
                meaning[i / 4] = static_cast<double>(x);
            }
        } else {
            const reference::Type &kind = reference::type(type);
            file = reference::file(kind, rows, size, reference::Scales::ordinary, dice);
            row = static_cast<size_t>(size / kind.block * kind.bytes);
            for (size_t i = 0; i < meaning.size(); i++) {
                const size_t block = i / static_cast<size_t>(kind.block);
                meaning[i] = kind.at(&file[block * static_cast<size_t>(kind.bytes)], static_cast<int>(i % static_cast<size_t>(kind.block))).value();
            }
        }
        stride = row + static_cast<size_t>(gap);
        bytes.assign(stride * static_cast<size_t>(rows), 0xff);
        for (int64_t r = 0; r < rows; r++) std::memcpy(&bytes[static_cast<size_t>(r) * stride], &file[static_cast<size_t>(r) * row], row);
    }
};

struct Trial {
    Case c;
    Numbers k, v;                 // rows: [sequence][key][head], as a cache has them
    std::vector<float> q, sinks;  // [sequence][token][head][size]
    std::vector<uint16_t> mask;   // [sequence][mask head][token][keys]

    Trial(const Case &c, check::Dice &dice)
        : c(c), k(c.k_type, c.sequences * c.keys * c.key_heads, c.k, c.k_type == F32 ? 4 : 2, dice),
          v(c.v_type, c.sequences * c.keys * c.key_heads, c.v, c.v_type == F32 ? 4 : 2, dice),
          q(static_cast<size_t>(c.sequences * c.tokens * c.heads * c.k)) {
        for (float &x : q) x = dice.normal();
        if (c.sinks)
            for (int64_t h = 0; h < c.heads; h++) sinks.push_back(h == 1 ? -INF : dice.normal() * 3);
        if (c.mask == Mask::none) return;
        for (int64_t i = 0; i < c.sequences * c.mask_heads * c.tokens; i++) {
            const int64_t token = i % c.tokens, last = c.keys - c.tokens + token, from = dice.between(0, c.keys - 1), to = dice.between(from, c.keys - 1);
            for (int64_t key = 0; key < c.keys; key++) {
                bool open = true;
                if (c.mask == Mask::causal) open = key <= last;
                if (c.mask == Mask::windows) open = key >= from && key < to;  // of some rows nothing
                if (c.mask == Mask::sequences) open = key * std::max<int64_t>(1, c.tokens) / c.keys == token;
                if (c.mask == Mask::all_kinds) open = dice.chance(0.5);
                uint16_t bits = open ? 0 : CLOSED;
                if (open && (c.bias > 0 || c.mask == Mask::all_kinds)) bits = static_cast<uint16_t>(0x8000 | dice.between(0x2000, 0x4400));
                mask.push_back(bits);
            }
        }
    }

    size_t outputs() const { return static_cast<size_t>(c.sequences * c.tokens * c.heads * c.v); }
    uint16_t mask_of(int64_t s, int64_t h, int64_t t, int64_t key) const {
        return mask.empty() ? 0 : mask[static_cast<size_t>(((s * c.mask_heads + h % c.mask_heads) * c.tokens + t) * c.keys + key)];
    }
    size_t key_row(int64_t s, int64_t h, int64_t key) const {
        return static_cast<size_t>((s * c.keys + key) * c.key_heads + h / (c.heads / c.key_heads));
    }

    void compute(const Kernels &kernels, int threads, Guarded<float> &out, check::Dice &dice) {
        const auto shape = [](Tensor &t, int type, void *data, std::initializer_list<int64_t> ne, std::initializer_list<size_t> nb) {
            t.type = type;
            t.data = data;
            std::copy(ne.begin(), ne.end(), t.ne);
            std::copy(nb.begin(), nb.end(), t.nb);
        };
        const auto n = [](int64_t x) { return static_cast<size_t>(x); };
        Tensor tq{}, tk{}, tv{}, tm{}, ts{}, op{};
        const size_t of_heads = n(c.key_heads), row = n(c.k) * 4;
        shape(tq, F32, q.data(), {c.k, c.tokens, c.heads, c.sequences}, {4, row * n(c.heads), row, row * n(c.heads * c.tokens)});
        const auto element = [](int type) { return size_t{type == F32 ? 4u : type == Q8_0 ? 34u : 2u}; };
        shape(tk, c.k_type, k.bytes.data(), {c.k, c.keys, c.key_heads, c.sequences}, {element(c.k_type), k.stride * of_heads, k.stride, k.stride * of_heads * n(c.keys)});
        shape(tv, c.v_type, v.bytes.data(), {c.v, c.keys, c.key_heads, c.sequences}, {element(c.v_type), v.stride * of_heads, v.stride, v.stride * of_heads * n(c.keys)});
        const size_t line = n(c.keys) * 2;
        shape(tm, F16, mask.data(), {c.keys, c.tokens, c.mask_heads, c.sequences}, {2, line, line * n(c.tokens), line * n(c.tokens * c.mask_heads)});
        shape(ts, F32, sinks.data(), {c.heads, 1, 1, 1}, {4, row, row, row});
        const size_t wide = n(c.v) * 4;
        shape(op, F32, out.data(), {c.v, c.heads, c.tokens, c.sequences}, {4, wide, wide * n(c.heads), wide * n(c.heads * c.tokens)});
        op.op = NUMBER;
        Tensor *all[5] = {&tq, &tk, &tv, mask.empty() ? nullptr : &tm, sinks.empty() ? nullptr : &ts};
        std::copy(all, all + 5, op.src);
        const float parameters[3] = {c.scale, c.bias, c.softcap};
        std::memcpy(op.op_params, parameters, sizeof parameters);
        OP_FLASH_ATTENTION = NUMBER;
        Attention attention(Threads::engine(), *kernels.attention);
        size_t size = 0;
        CHECK(attention.work_size(threads, &op, size), "no size of work");
        Guarded<uint8_t> room(size, static_cast<size_t>(dice.between(0, 15)) * 4);
        std::atomic<bool> done{true};
        Threads(threads).run(room.data(), size, [&](Work &work) {
            if (!attention.compute_forward(&work, &op)) done = false;
        });
        CHECK(done, "it was declined");
        CHECK(room.whole(), "the work buffer of ", size, " bytes was overstepped with ", threads, " threads");
        CHECK(out.whole(), "it wrote beside its outputs");
    }

    void agree(const Guarded<float> &out) const {
        size_t at = 0;
        for (int64_t s = 0; s < c.sequences; s++)
            for (int64_t t = 0; t < c.tokens; t++)
                for (int64_t h = 0; h < c.heads; h++, at += static_cast<size_t>(c.v)) agree_row(s, t, h, &out.data()[at]);
    }

  private:
    double slope(int64_t h) const {
        if (!(c.bias > 0)) return 1;
        const auto power = static_cast<int64_t>(std::exp2(std::floor(std::log2(c.heads))));
        return h < power ? std::pow(std::exp2(-c.bias / static_cast<double>(power)), h + 1)
                         : std::pow(std::exp2(-c.bias / 2.0 / static_cast<double>(power)), 2 * (h - power) + 1);
    }

    void agree_row(int64_t s, int64_t t, int64_t h, const float *found) const {
        const float *row = &q[static_cast<size_t>(((s * c.tokens + t) * c.heads + h) * c.k)];
        std::vector<double> scores, out(static_cast<size_t>(c.v)), sizes(out.size());
        std::vector<int64_t> open;
        double most = sinks.empty() ? -INF : static_cast<double>(sinks[static_cast<size_t>(h)]), unsure = 0;
        for (int64_t key = 0; key < c.keys; key++) {
            const double mask = reference::half(mask_of(s, h, t, key));
            if (mask_of(s, h, t, key) == CLOSED) continue;
            double dot = 0, size = 0;
            for (int64_t d = 0; d < c.k; d++) {
                const double one = static_cast<double>(row[d]) * k.meaning[key_row(s, h, key) * static_cast<size_t>(c.k) + static_cast<size_t>(d)];
                dot += one, size += std::abs(one);
            }
            const double scale = static_cast<double>(c.scale), cap = static_cast<double>(c.softcap);
            scores.push_back((cap != 0 ? cap * std::tanh(dot * scale / cap) : dot * scale) + slope(h) * mask);
            open.push_back(key);
            most = std::max(most, scores.back());
            unsure = std::max(unsure, 2e-7 * (size * scale * std::sqrt(static_cast<double>(c.k)) + cap + std::abs(slope(h) * mask)));
        }
        double sum = sinks.empty() ? 0 : std::exp(static_cast<double>(sinks[static_cast<size_t>(h)]) - most);
        if (most == -INF) sum = 0;
        for (size_t i = 0; i < open.size(); i++) {
            const double weight = std::exp(scores[i] - most);
            sum += weight;
            for (size_t d = 0; d < out.size(); d++) {
                const double one = weight * v.meaning[key_row(s, h, open[i]) * static_cast<size_t>(c.v) + d];
                out[d] += one, sizes[d] += std::abs(one);
            }
        }
        for (size_t d = 0; d < out.size(); d++) {
            const double want = sum > 0 ? out[d] / sum : 0, size = sum > 0 ? sizes[d] / sum : 0;
            CHECK(std::abs(static_cast<double>(found[d]) - want) <= (4 * unsure + 4e-6) * size + 1e-35, "sequence ", s, " token ", t, " head ", h, " number ", d,
                  ": ", found[d], " and not ", want, " (", size, "), ", c.text());
        }
    }
};

void check_case(const Kernels &kernels, const Case &c, check::Dice &dice) {
    Trial trial(c, dice);
    Guarded<float> first(trial.outputs());
    trial.compute(kernels, 1, first, dice);
    trial.agree(first);
    for (const int threads : {2, 5}) {
        Guarded<float> out(trial.outputs());
        trial.compute(kernels, threads, out, dice);
        CHECK(std::memcmp(out.data(), first.data(), out.size() * sizeof(float)) == 0, threads, " threads have another result than 1, ", c.text());
    }
}

void for_each(void (*test)(const Kernels &)) {
    std::set<const AttentionKernel *> done;
    for (const Kernels *kernels : all_kernels()) {
        if (!kernels->attention || !done.insert(kernels->attention).second) continue;
        try {
            test(*kernels);
        } catch (const check::Failure &failure) {
            throw check::Failure(check::text(kernels->isa, ": ", failure.what()));
        }
    }
}

void sizes(const Kernels &kernels) {
    check::Dice dice(3000);
    for (const int64_t size : {16, 32, 48, 64, 80, 96, 112, 128, 192, 256, 576})
        for (const int64_t tokens : {1, 33}) {
            Case c;
            c.k = c.v = size, c.tokens = tokens;
            if (size == 576) c.v = 512, c.key_heads = 1;
            check_case(kernels, c, dice);
        }
}

void counts(const Kernels &kernels) {
    check::Dice dice(3100);
    for (int64_t tokens = 1; tokens <= 40; tokens += tokens < 20 ? 1 : 5)
        for (const Mask mask : {Mask::none, Mask::causal}) {
            Case c;
            c.k = c.v = 32, c.heads = 6, c.tokens = tokens, c.keys = tokens + 63, c.mask = mask;
            check_case(kernels, c, dice);
        }
    for (int64_t keys = 1; keys < 140; keys += keys % 64 < 3 || keys % 64 > 61 ? 1 : 13)
        for (const int64_t tokens : {1, 20}) {
            Case c;
            c.k = 32, c.v = 16, c.tokens = tokens, c.keys = std::max(keys, tokens);
            check_case(kernels, c, dice);
        }
}

void long_texts(const Kernels &kernels) {
    check::Dice dice(3200);
    for (const int64_t tokens : {1, 3, 9, 200}) {
        Case c;
        c.k = c.v = 64, c.heads = 3, c.key_heads = 1, c.tokens = tokens, c.keys = 1900;
        check_case(kernels, c, dice);
        c.mask = Mask::sequences;
        check_case(kernels, c, dice);
    }
}

void fuzz(const Kernels &kernels) {
    check::Dice dice(3300);
    const std::vector<int> types = {F16, F16, F32, BF16, Q8_0};
    for (int i = 0; i < check::rounds * 2; i++) {
        Case c;
        c.k_type = dice.of(types), c.v_type = dice.chance(0.7) ? c.k_type : dice.of(types);
        c.k = 32 * dice.between(1, 5), c.v = dice.chance(0.7) ? c.k : 32 * dice.between(1, 4);
        c.key_heads = dice.between(1, 3), c.heads = c.key_heads * dice.between(1, 7);
        c.tokens = dice.chance(0.5) ? dice.between(1, 4) : dice.between(1, 70);
        c.sequences = dice.between(1, 3);
        c.keys = c.tokens + dice.between(0, 200);
        c.mask = dice.of(std::vector<Mask>{Mask::none, Mask::causal, Mask::windows, Mask::sequences, Mask::all_kinds});
        if (c.mask != Mask::none && dice.chance(0.3)) c.mask_heads = dice.chance(0.5) ? c.heads : c.key_heads;
        if (c.mask != Mask::none && dice.chance(0.3)) c.bias = 8;
        if (dice.chance(0.3)) c.softcap = 5;
        if (dice.chance(0.3)) c.scale = 20;  // one key has it all
        if (c.k_type == F32) c.scale *= 0.1f;
        c.sinks = dice.chance(0.3);
        check_case(kernels, c, dice);
    }
}

// A value, key or query that is no number, where it may be seen and where it may not.
void strange(const Kernels &kernels) {
    for (const int64_t tokens : {2, 40}) {
        check::Dice dice(3400);
        Case c;
        c.k_type = c.v_type = F32;
        c.k = c.v = 32, c.tokens = tokens, c.keys = 100;
        Trial trial(c, dice);
        Guarded<float> before(trial.outputs());
        trial.compute(kernels, 2, before, dice);
        const int64_t seen_from = tokens - 1, key = c.keys - 1;  // open for the last token alone
        const auto changed = [&](float &number, float to, const auto &touched, const char *what) {
            const float was = number;
            number = to;
            Guarded<float> out(trial.outputs());
            trial.compute(kernels, 2, out, dice);
            number = was;
            for (int64_t i = 0; i < static_cast<int64_t>(out.size()); i++) {
                const int64_t d = i % c.v, h = i / c.v % c.heads, t = i / (c.v * c.heads);
                const bool same = std::memcmp(&out[static_cast<size_t>(i)], &before[static_cast<size_t>(i)], 4) == 0;
                const bool none = !std::isfinite(out[static_cast<size_t>(i)]);
                CHECK(touched(t, h, d) ? none : same, what, " ", to, ": token ", t, " head ", h, " number ", d, " is ", out[static_cast<size_t>(i)], ", ",
                      c.text());
            }
        };
        const auto at = [&](Numbers &n, int64_t head, int64_t d) -> float & {
            return reinterpret_cast<float *>(&n.bytes[(static_cast<size_t>(key * c.key_heads + head)) * n.stride])[d];
        };
        for (const float bad : {std::nanf(""), INF, -INF}) {
            changed(at(trial.v, 1, 5), bad, [&](int64_t t, int64_t h, int64_t d) { return t == seen_from && h / 2 == 1 && d == 5; }, "a value");
            if (std::isnan(bad)) {
                changed(at(trial.k, 0, 3), bad, [&](int64_t t, int64_t h, int64_t) { return t == seen_from && h / 2 == 0; }, "a key");
            }
            changed(trial.q[static_cast<size_t>((1 * c.heads + 2) * c.k + 7)], bad, [&](int64_t t, int64_t h, int64_t) { return t == 1 && h == 2; }, "a query");
        }
    }
}

void declined(const Kernels &kernels) {
    Attention attention(Threads::engine(), *kernels.attention);
    OP_FLASH_ATTENTION = NUMBER;
    Tensor op{};
    op.op = 3;
    size_t size = 0;
    CHECK(!attention.work_size(1, &op, size), "it took an operation that it does not know");
    op.op = NUMBER;
    CHECK(!attention.work_size(1, &op, size), "it took an operation without sources");
}

}  // namespace

TEST(attention_of_all_sizes_of_heads_agrees_with_the_reference) { for_each(sizes); }
TEST(attention_of_few_and_many_rows_and_keys_agrees) { for_each(counts); }
TEST(attention_to_a_long_text_agrees) { for_each(long_texts); }
TEST(attention_of_random_shapes_masks_and_caches_agrees) { for_each(fuzz); }
TEST(what_is_no_number_is_only_seen_where_the_mask_is_open) { for_each(strange); }
TEST(attention_that_is_not_known_is_declined) { for_each(declined); }
