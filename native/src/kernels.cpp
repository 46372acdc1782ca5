// Which kernels this processor has.
#include "amx.h"

#include <cstdlib>
#include <cstring>

namespace inhouse {

extern const Kernels AVX512_VNNI, AVX_VNNI, AVX2;

namespace {

bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"); }

bool has_avx_vnni() { return has_avx2() && __builtin_cpu_supports("avxvnni"); }

bool has_avx512_vnni() {
    return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq");
}

bool has_avx512_bf16() { return has_avx512_vnni() && __builtin_cpu_supports("avx512bf16"); }

constexpr struct {
    const Kernels &kernels;
    bool (*here)();
} ALL[] = {{AMX, [] { return has_avx512_bf16() && has_amx(); }},
           {AVX512_BF16, has_avx512_bf16},
           {AVX512_VNNI, has_avx512_vnni},
           {AVX_VNNI, has_avx_vnni},
           {AVX2, has_avx2}};  // best first

}  // namespace

void keep_floats(const RowForm &form, const float *x, int8_t *to) {
    std::memcpy(to, x, static_cast<size_t>(form.k) * sizeof *x);
    std::memset(to + form.k * sizeof *x, 0, static_cast<size_t>(filled(form.k) - form.k) * sizeof *x);
}

const Kernels *best_kernels(std::string *why) {
    __builtin_cpu_init();
    const char *wanted = std::getenv("INHOUSE_KERNELS_ISA");
    if (wanted && !*wanted) wanted = nullptr;
    std::string known;
    for (const auto &one : ALL) {
        if (wanted && std::strcmp(wanted, one.kernels.isa) != 0) {
            known += (known.empty() ? "" : ", ") + std::string(one.kernels.isa);
            continue;
        }
        if (one.here()) return &one.kernels;
        if (wanted && why) *why = std::string("INHOUSE_KERNELS_ISA asks for ") + wanted + ", which this processor, or its system, has not";
        if (wanted) return nullptr;
    }
    if (!why) return nullptr;
    *why = wanted ? "INHOUSE_KERNELS_ISA is none of " + known : "there are no kernels for this processor's instruction sets";
    return nullptr;
}

}  // namespace inhouse
