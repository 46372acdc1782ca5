// Memory that will be written next, fetched from the system beside the packing.
//
// The first write to a page has the system find and clear it, which takes as long as to pack what will stand there. So
// a thread has the next 2 MiB made ready meanwhile; no more than that, as they count before they are used.
#pragma once

#include <cstddef>

namespace inhouse {

// A buffer [begin, end) was written up to `at`; nothing happens while one is at work, or without MADV_POPULATE_WRITE.
void fresh_memory_behind(const void *begin, const void *end, const void *at);

}  // namespace inhouse
