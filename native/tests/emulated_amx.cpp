// The very kernels of src/amx.cpp on the emulated unit.
#include "emulated_amx.h"

#include "../src/amx.h"
#include "../src/amx_bf16.h"
#include "../src/amx_codes.h"

namespace inhouse {

const Kernels *emulated_amx();

namespace {

constexpr int BF16 = 30;

// The engine sets shapes once for each of its threads: they must be there afterwards.
template <Tall Of>
void among_others(const uint8_t *panel, const int8_t *row, size_t stride, const RowForm &rows, int64_t from, int64_t to, float *out,
                  size_t out_stride, int columns, int64_t count) {
    Shapes others, found;
    others.set(1, 8, 48);
    EmulatedAmx::shape(others);
    Of(panel, row, stride, rows, from, to, out, out_stride, columns, count);
    EmulatedAmx::shapes(found);
    EmulatedAmx::must(std::memcmp(&found, &others, sizeof found) == 0, "shapes of others were not put back");
}

template <const Form &F>
struct Talls {
    static constexpr Tall value = among_others<AmxCodes<EmulatedAmx, F>::tall>;
};

Tiles tiles(int type) {
    Tiles found = AVX512_BF16.tiles(type);
    found.tall = type == BF16 ? among_others<AmxBf16<EmulatedAmx>::tall> : by_type<Talls, Tall>(type);
    return found;
}

void quantise(const RowForm &form, const float *x, int8_t *to) { AVX512_BF16.quantise(form, x, to); }

const Kernels EMULATED{"amx-emulated", tiles, quantise, true, nullptr};

}  // namespace

const Kernels *emulated_amx() {
    const bool here = __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    return here ? &EMULATED : nullptr;
}

}  // namespace inhouse
