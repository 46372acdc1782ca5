// Whether the processor has a matrix unit, and the system lets this process use it.
#include "amx.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace inhouse {
namespace {

constexpr unsigned BF16 = 1u << 22, TILES = 1u << 24, INT8 = 1u << 25;   // CPUID, leaf 7, EDX
constexpr unsigned OSXSAVE = 1u << 27;                                   // leaf 1, ECX
constexpr uint32_t STATE = 3u << 17;                                     // XCR0: shapes and registers
constexpr long ASK = 0x1023, REGISTERS = 18;                             // arch_prctl: ARCH_REQ_XCOMP_PERM

uint32_t enabled_states() {
    uint32_t low, high;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

}  // namespace

bool has_amx() {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & OSXSAVE) || (enabled_states() & STATE) != STATE) return false;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & (TILES | INT8 | BF16)) != (TILES | INT8 | BF16)) return false;
    static const bool allowed = syscall(SYS_arch_prctl, ASK, REGISTERS) == 0;
    return allowed;
}

}  // namespace inhouse
