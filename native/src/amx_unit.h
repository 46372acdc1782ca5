// The processor's matrix unit (AMX): eight tile registers of at most 16 rows of 64 bytes, and what is done with them.
//
//   A: rows of activations      B: weights, four k-values of a column side by side      C: sums
//   row 0 [k0 .. k31]           [column 0: k0 k1 k2 k3] [column 1: k0..k3] .. column 15   row 0 [column 0 .. 15]
//   ...                         [column 0: k4 k5 k6 k7] ...                               ...
//   row 15                      8 such lines                                              row 15
//
// C += A x B is one instruction. B lies as our panels do. Written as instructions, since the compilers' functions are
// macros that want a register's number as a literal and do not say that they read memory. The shapes of the
// registers are set once for a thread; the engine sets its own only once, so whoever sets others puts them back.
#pragma once

#include <cstddef>
#include <cstdint>

namespace inhouse {

// As the processor reads it. All zeros: no shapes, the registers are free.
struct alignas(64) Shapes {
    uint8_t palette = 0, start = 0, unused[14] = {};
    uint16_t bytes[16] = {};  // of a row
    uint8_t rows[16] = {};

    void set(int tile, int64_t height, int64_t width) {
        palette = 1;
        rows[tile] = static_cast<uint8_t>(height);
        bytes[tile] = static_cast<uint16_t>(height ? width : 0);
    }
};
static_assert(sizeof(Shapes) == 64);

// Shapes for as long as this lives, then those that were before.
template <class Unit>
class Shaped {
  public:
    explicit Shaped(const Shapes &shapes) {
        Unit::shapes(before_);
        Unit::shape(shapes);
    }
    ~Shaped() { Unit::shape(before_); }
    Shaped(const Shaped &) = delete;
    Shaped &operator=(const Shaped &) = delete;

  private:
    Shapes before_;
};

struct Amx {
    static void shape(const Shapes &to) { asm volatile("ldtilecfg %0" : : "m"(to) : "memory"); }
    static void shapes(Shapes &now) { asm volatile("sttilecfg %0" : "=m"(now) : : "memory"); }
    template <int T>
    static void zero() { asm volatile("tilezero %%tmm%c0" : : "i"(T)); }
    template <int T>
    static void load(const void *from, size_t stride) {
        asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(T) : "memory");
    }
    template <int T>
    static void store(void *to, size_t stride) {
        asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(T) : "memory");
    }
    // Signed bytes of A by signed bytes of B.
    template <int C, int A, int B>
    static void multiply_bytes() { asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B)); }
    // Pairs of BF16 into floats.
    template <int C, int A, int B>
    static void multiply_bf16() { asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B)); }
};

}  // namespace inhouse
