// The kernel of attention, for vectors of any width: `S` wraps them (attention_avx512.cpp, attention_avx2.cpp).
//
// Few rows (attention_few.h) and many (attention_many.h) are computed differently; here is which, and what comes after.
// Both see blocks of KEYS keys. A block that the mask closes for all rows is not touched. A key that is closed for a
// row has no part in it, even if it holds what is no number: where a result is none, the piece is computed once
// more, guarded.
#pragma once

#include "attention_few.h"
#include "attention_many.h"

namespace inhouse {
namespace {

constexpr int64_t FEW = 8;  // rows that are open in a block, on average

template <class S>
class Attender {
    using V = typename S::V;
    static constexpr int W = S::W;

  public:
    static void piece(const Piece &p) { open_rows(p) <= FEW ? attend<FewRows<S>>(p) : attend<ManyRows<S>>(p); }

    static void merge(float &most, float &sum, float *out, float other_most, float other_sum, const float *other, int64_t size) {
        const float largest = other_most > most ? other_most : most, base = largest == LOWEST ? 0 : largest;
        const float mine = exp_of<S>(most - base), its = exp_of<S>(other_most - base);
        for (int64_t i = 0; i < size; i += W)
            S::store(out + i, S::fma(S::load(other + i), S::set(its), S::mul(S::load(out + i), S::set(mine))));
        sum = sum * mine + other_sum * its;
        most = largest;
    }

    static void finish(float most, float sum, const float *out, float sink, float *to, int64_t size) {
        float mine = 1;
        if (sink > most) {
            mine = exp_of<S>(most - sink);
            sum = sum * mine + 1;
        } else if (sink != LOWEST) {
            sum += exp_of<S>(sink - most);
        }
        const V factor = S::set(sum == 0 ? 0 : mine / sum);  // a row that is wholly closed is 0
        for (int64_t i = 0; i < size; i += W) S::store(to + i, S::mul(S::load(out + i), factor));
    }

  private:
    template <class Rows>
    static void attend(const Piece &p) {
        Rows rows(p);
        rows.template attend<false>();
        if (p.mask[0] && !is_finite(p)) rows.template attend<true>();
    }

    // Rows that a block of keys is open for, on average of the blocks that are open at all.
    static int64_t open_rows(const Piece &p) {
        if (p.rows <= FEW || !p.mask[0]) return p.rows;
        int64_t open = 0, blocks = 0;
        for (int64_t from = p.from; from < p.to; from += KEYS) {
            int64_t here = 0;
            for (int r = 0, end; r < p.rows; r = end) {
                end = after(p, r);
                if (openness(p.mask[r] + from, std::min(KEYS, p.to - from)) != Open::none) here += end - r;
            }
            open += here;
            blocks += here > 0;
        }
        return blocks ? open / blocks : 0;
    }

    static bool is_finite(const Piece &p) {
        V none = S::zero();  // x - x is 0, or no number
        for (int64_t i = 0; i < p.rows * p.v.size; i += W) {
            const V x = S::load(p.out + i);
            none = S::add(none, S::sub(x, x));
        }
        return S::sum(none) == 0;
    }
};

}  // namespace
}  // namespace inhouse
