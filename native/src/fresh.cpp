#include "fresh.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <system_error>
#include <thread>

#include <sys/mman.h>

namespace inhouse {
namespace {

constexpr uintptr_t LARGE = uintptr_t{2} << 20, PAGE = 4096;
constexpr int POPULATE_WRITE = 23;  // since Linux 5.14; changes nothing in memory that is there
std::atomic<uintptr_t> READY{0};    // the last that was asked for
std::atomic<bool> BUSY{false};

}  // namespace

void fresh_memory_behind(const void *begin, const void *end, const void *at) {
    const auto next = reinterpret_cast<uintptr_t>(at) / LARGE * LARGE + LARGE;
    const uintptr_t first = std::max(next, (reinterpret_cast<uintptr_t>(begin) + PAGE - 1) / PAGE * PAGE);
    const uintptr_t last = std::min(next + LARGE, reinterpret_cast<uintptr_t>(end) / PAGE * PAGE);
    if (first >= last || READY.load(std::memory_order_relaxed) == next || BUSY.exchange(true)) return;
    READY = next;
    try {
        std::thread([first, last] {
            madvise(reinterpret_cast<void *>(first), last - first, POPULATE_WRITE);
            BUSY = false;
        }).detach();
    } catch (const std::system_error &) {  // no thread: the packing does it itself
        BUSY = false;
    }
}

}  // namespace inhouse
