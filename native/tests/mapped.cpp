// Pages of a mapped file go when they were read; a process's own memory never does.
#include "../src/mapped.h"
#include "check.h"

#include <cstring>
#include <memory>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

using inhouse::Mapped;

namespace {

constexpr size_t SIZE = size_t{8} << 20;

uint8_t expected(size_t at) { return static_cast<uint8_t>(at * 31 + at / 4096); }

struct Unmap {
    void operator()(uint8_t *memory) const { munmap(memory, SIZE); }
};
using Memory = std::unique_ptr<uint8_t, Unmap>;

// A file that is mapped as an engine does it, all of it in memory.
Memory mapped(int how, int protection = PROT_READ) {
    char name[] = "/tmp/inhouse-mapped-XXXXXX";
    const int file = mkstemp(name);
    CHECK(file >= 0, "no file");
    unlink(name);
    std::vector<uint8_t> bytes(SIZE);
    for (size_t i = 0; i < SIZE; i++) bytes[i] = expected(i);
    CHECK(write(file, bytes.data(), SIZE) == static_cast<ssize_t>(SIZE), "the file was not written");
    void *memory = mmap(nullptr, SIZE, protection, how | MAP_POPULATE, file, 0);
    close(file);
    CHECK(memory != MAP_FAILED, "the file was not mapped");
    return Memory(static_cast<uint8_t *>(memory));
}

Memory anonymous(int how) {
    void *memory = mmap(nullptr, SIZE, PROT_READ | PROT_WRITE, how | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED, "no memory");
    return Memory(static_cast<uint8_t *>(memory));
}

void fill(const Memory &memory) {
    for (size_t i = 0; i < SIZE; i++) memory.get()[i] = expected(i);
}

// Pages of this memory that the process has.
size_t here(const Memory &memory) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    std::vector<uint64_t> words(SIZE / page);
    const int map = open("/proc/self/pagemap", O_RDONLY);
    const ssize_t got = pread(map, words.data(), words.size() * 8, static_cast<off_t>(reinterpret_cast<uintptr_t>(memory.get()) / page * 8));
    close(map);
    CHECK(got == static_cast<ssize_t>(words.size() * 8), "the kernel does not tell");
    size_t count = 0;
    for (const uint64_t word : words) count += word >> 63;
    return count;
}

size_t wrong_bytes(const Memory &memory) {
    size_t count = 0;
    for (size_t i = 0; i < SIZE; i++) count += memory.get()[i] != expected(i);
    return count;
}

void read_from_to(const Memory &memory, size_t from, size_t to, size_t step) {
    Mapped source(memory.get() + from);
    for (size_t at = from + step; at < to; at += step) source.read_until(memory.get() + at);
    source.read_until(memory.get() + to);
}

}  // namespace

TEST(pages_of_a_mapped_file_go_when_they_were_read_and_can_be_read_again) {
    check::Dice dice;
    const Memory memory = mapped(MAP_SHARED);
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t from = static_cast<size_t>(dice.between(1, SIZE / 4)), to = SIZE - static_cast<size_t>(dice.between(1, SIZE / 4));
    const size_t before = here(memory);
    CHECK(before == SIZE / page, before, " pages before");
    read_from_to(memory, from, to, static_cast<size_t>(dice.between(1, 1 << 20)));
    const size_t whole = to / page - (from + page - 1) / page;
    // Where the system maps large pages, neighbours go along: they are a file's as well.
    CHECK(here(memory) <= before - whole, here(memory), " pages are left of ", before, ", ", whole, " of which were read");
    CHECK(wrong_bytes(memory) == 0, "the file reads otherwise");
}

TEST(a_file_mapped_for_this_process_alone_goes_too_unless_it_was_written_to) {
    const Memory read = mapped(MAP_PRIVATE), written = mapped(MAP_PRIVATE, PROT_READ | PROT_WRITE);
    read_from_to(read, 0, SIZE, SIZE);
    CHECK(here(read) == 0, here(read), " pages are left");
    written.get()[SIZE / 2] ^= 1;
    const size_t before = here(written);
    read_from_to(written, 0, SIZE, SIZE);
    CHECK(here(written) == before, "pages went");
    CHECK(wrong_bytes(written) == 1, "what was written is lost");
}

TEST(memory_of_a_process_stays) {
    const Memory own = anonymous(MAP_PRIVATE), shared = anonymous(MAP_SHARED);
    fill(own);
    fill(shared);
    const size_t before = here(own);
    read_from_to(own, 0, SIZE, 1 << 20);
    CHECK(here(own) == before, "pages went");
    CHECK(wrong_bytes(own) == 0, "memory was lost");
    read_from_to(shared, 0, SIZE, 1 << 20);  // its pages may go, as they lie in a file without a name
    CHECK(wrong_bytes(shared) == 0, "shared memory was lost");
    const Memory untouched = anonymous(MAP_PRIVATE);
    size_t sum = 0;
    for (size_t i = 0; i < SIZE; i += 4096) sum += untouched.get()[i];  // the page of zeros
    read_from_to(untouched, 0, SIZE, SIZE);
    CHECK(sum == 0, "it was not zeros");
}
