// Which kernels this processor has.
#include "form.h"

namespace inhouse {

extern const Kernels AVX512_VNNI;

const Kernels *best_kernels() {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        return &AVX512_VNNI;
    return nullptr;
}

}  // namespace inhouse
