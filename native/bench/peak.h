// What the microbenchmarks share: time, cold caches, and the most that one thread's arithmetic gives.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

namespace inhouse {
namespace {

inline double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

template <class Part>
double best_of(int tries, Part part) {
    double best = 1e9;
    for (int i = 0; i < tries; i++) {
        const double start = now();
        part();
        best = std::min(best, now() - start);
    }
    return best;
}

constexpr int CHAINS = 12, TIMES = 20000;  // more chains than an instruction's latency times its ports; short, so that seldom anything comes between

#define TWELVE(one) one("0") one("1") one("2") one("3") one("4") one("5") one("6") one("7") one("8") one("9") one("10") one("11")

// 64 int8 products and additions per instruction. Registers are named, as compilers put arrays into memory.
__attribute__((target("avx512f,avx512bw,avx512vnni"))) inline void vnni() {
    for (int i = 0; i < TIMES; i++)
#define ONE(n) "vpdpbusd %%zmm12, %%zmm12, %%zmm" n "\n\t"
        asm volatile(TWELVE(ONE)::: "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11");
#undef ONE
}

// 32 per pair of instructions.
__attribute__((target("avx2"))) inline void avx2() {
    for (int i = 0; i < TIMES; i++)
#define ONE(n) "vpmaddubsw %%ymm12, %%ymm12, %%ymm13\n\tvpaddw %%ymm13, %%ymm" n ", %%ymm" n "\n\t"
        asm volatile(TWELVE(ONE)::: "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm13");
#undef ONE
}

// 16 products of floats, 8 with AVX2, 32 of BF16.
__attribute__((target("avx512f"))) inline void fma512() {
    for (int i = 0; i < TIMES; i++)
#define ONE(n) "vfmadd231ps %%zmm12, %%zmm12, %%zmm" n "\n\t"
        asm volatile(TWELVE(ONE)::: "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11");
#undef ONE
}

__attribute__((target("avx2,fma"))) inline void fma256() {
    for (int i = 0; i < TIMES; i++)
#define ONE(n) "vfmadd231ps %%ymm12, %%ymm12, %%ymm" n "\n\t"
        asm volatile(TWELVE(ONE)::: "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11");
#undef ONE
}

__attribute__((target("avx512f,avx512bf16"))) inline void dpbf16() {
    for (int i = 0; i < TIMES; i++)
#define ONE(n) "vdpbf16ps %%zmm12, %%zmm12, %%zmm" n "\n\t"
        asm volatile(TWELVE(ONE)::: "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11");
#undef ONE
}

inline double peak(void (*part)(), int products) { return 2.0 * products * CHAINS * TIMES / best_of(200, part) / 1e9; }

// Fills the caches with something else, as they are when a model is decoded.
class Caches {
  public:
    void fill() {
        for (size_t at = 0; at < other_.size(); at += 64) other_[at]++;
    }

  private:
    std::vector<uint8_t> other_ = std::vector<uint8_t>(size_t{64} << 20);
};

}  // namespace
}  // namespace inhouse
