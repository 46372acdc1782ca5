// Pages of a mapped file that have been read and are not needed any more.
//
// An engine that maps its models (llama.cpp's default) would have each weight twice: in its page of the file and
// packed by us. So what is packed is given back. The page stays in the system's cache and can be read again; this
// process just has it no more. Only of a file: the kernel is asked about the very pages (/proc/self/pagemap tells
// those of files and shared memory from a process's own), since memory that the weights were read into would be lost.
#pragma once

#include <cstddef>
#include <cstdint>

namespace inhouse {

class Mapped {
  public:
    explicit Mapped(const void *from);
    ~Mapped();
    Mapped(const Mapped &) = delete;
    Mapped &operator=(const Mapped &) = delete;

    // What lies before `until` has been read: whole pages of it go. Once in a while is enough.
    void read_until(const void *until);

  private:
    bool of_file(uintptr_t first, uintptr_t last) const;

    uintptr_t from_;  // the first page that is still there
    int map_ = -1;
};

}  // namespace inhouse
