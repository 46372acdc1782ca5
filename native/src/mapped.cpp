#include "mapped.h"

#include <algorithm>
#include <iterator>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace inhouse {
namespace {

const uintptr_t PAGE = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
// The kernel's Documentation/admin-guide/mm/pagemap.rst: one word for each page.
constexpr uint64_t PRESENT = uint64_t{1} << 63, SWAPPED = uint64_t{1} << 62, SHARED = uint64_t{1} << 61;

}  // namespace

Mapped::Mapped(const void *from)
    : from_((reinterpret_cast<uintptr_t>(from) + PAGE - 1) / PAGE * PAGE), map_(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)) {}

Mapped::~Mapped() {
    if (map_ >= 0) close(map_);
}

void Mapped::read_until(const void *until) {
    const uintptr_t last = reinterpret_cast<uintptr_t>(until) / PAGE * PAGE;
    if (map_ < 0 || last <= from_) return;
    if (of_file(from_, last)) {
        madvise(reinterpret_cast<void *>(from_), last - from_, MADV_DONTNEED);
    } else {
        close(map_);  // nor will the rest be
        map_ = -1;
    }
    from_ = last;
}

// Whether every page from `first` to `last` is a file's, or not there at all.
bool Mapped::of_file(uintptr_t first, uintptr_t last) const {
    uint64_t words[256];
    for (uintptr_t at = first / PAGE; at < last / PAGE;) {
        const size_t count = std::min<size_t>(last / PAGE - at, std::size(words));
        const ssize_t got = pread(map_, words, count * sizeof *words, static_cast<off_t>(at * sizeof *words));
        if (got != static_cast<ssize_t>(count * sizeof *words)) return false;
        for (size_t i = 0; i < count; i++)
            if ((words[i] & SWAPPED) || ((words[i] & PRESENT) && !(words[i] & SHARED))) return false;
        at += count;
    }
    return true;
}

}  // namespace inhouse
