// What the tests of kernels share: packed matrices, quantised rows, memory that tells when it was overstepped.
#pragma once

#include "../src/form.h"
#include "check.h"
#include "reference.h"

#include <cstring>
#include <string>
#include <vector>

namespace inhouse {

// The kernels of all instruction sets that this processor has.
std::vector<const Kernels *> all_kernels();
// Those for AMX on a unit in plain C++; nullptr where the processor lacks what else they need.
const Kernels *emulated_amx();

// `size` things between two strips of a known pattern.
template <class T>
class Guarded {
  public:
    explicit Guarded(size_t size, size_t misaligned = 0) : size_(size), from_(STRIP + misaligned), bytes_(size * sizeof(T) + 2 * STRIP + misaligned, PATTERN) {}
    T *data() { return reinterpret_cast<T *>(bytes_.data() + from_); }
    const T *data() const { return reinterpret_cast<const T *>(bytes_.data() + from_); }
    T &operator[](size_t i) { return data()[i]; }
    const T &operator[](size_t i) const { return data()[i]; }
    size_t size() const { return size_; }
    bool whole() const {
        for (size_t i = 0; i < bytes_.size(); i++)
            if ((i < from_ || i >= from_ + size_ * sizeof(T)) && bytes_[i] != PATTERN) return false;
        return true;
    }
    static bool untouched(const T &value) {
        unsigned char bytes[sizeof(T)];
        std::memcpy(bytes, &value, sizeof(T));
        for (const unsigned char byte : bytes)
            if (byte != PATTERN) return false;
        return true;
    }

  private:
    static constexpr unsigned char PATTERN = 0xa5;
    static constexpr size_t STRIP = 256;
    size_t size_, from_;
    std::vector<unsigned char> bytes_;
};

// A matrix in the file's form, in ours, and what it means.
struct Matrix {
    const Kind &kind;
    const reference::Type &type;
    int64_t columns, k;
    std::vector<uint8_t> file;
    Guarded<uint8_t> packed;
    std::vector<reference::Column> meaning;

    Matrix(const Kind &kind, int64_t columns, int64_t k, reference::Scales scales, check::Dice &dice);
    Matrix(const Kind &kind, int64_t columns, int64_t k, std::vector<uint8_t> file);
    int64_t panels() const { return (columns + PANEL - 1) / PANEL; }
    const uint8_t *panel(int64_t number) const { return packed.data() + static_cast<size_t>(number) * kind.form.panel(k); }
};

enum class Values { ordinary, extreme };

// `count` rows; extreme ones hold blocks of zeros, single giants, and are huge or tiny as a whole.
std::vector<float> rows(int64_t count, int64_t k, Values values, check::Dice &dice);

// One row as a set of kernels quantises, rounds or copies it, read back.
reference::Row quantised(const Kernels &kernels, const Kind &kind, const float *row, int64_t k);
reference::Row read(const RowForm &form, const int8_t *row);

// A K that a type allows: of so many of its blocks, at most so many. Weights that are 16-bit numbers have no blocks
// and allow any K: odd ones, and such that are no multiple of what a kernel takes at a time.
int64_t k_of(const Kind &kind, int64_t blocks);
int64_t some_k(const Kind &kind, int64_t blocks, check::Dice &dice);

// Does `test` with all types of all kernels, once where two sets of kernels share them; what it throws is told with their names.
void for_each_kernel(void (*test)(const Kernels &, const Kind &));

}  // namespace inhouse
