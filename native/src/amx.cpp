// The kernels for processors with a matrix unit: its products for many rows, AVX-512's tiles for few.
#include "amx.h"

#include "amx_bf16.h"
#include "amx_codes.h"

namespace inhouse {

uint64_t AMX_TYPES = ~uint64_t{0};

namespace {

constexpr int BF16 = 30;

template <const Form &F>
struct Talls {
    static constexpr Tall value = AmxCodes<Amx, F>::tall;
};

Tiles tiles(int type) {
    Tiles found = AVX512_BF16.tiles(type);
    if (AMX_TYPES >> type & 1) found.tall = type == BF16 ? AmxBf16<Amx>::tall : by_type<Talls, Tall>(type);
    return found;
}

void quantise(const RowForm &form, const float *x, int8_t *to) { AVX512_BF16.quantise(form, x, to); }

}  // namespace

extern const Kernels AMX{"amx", tiles, quantise, true, &ATTENTION_AVX512};

}  // namespace inhouse
