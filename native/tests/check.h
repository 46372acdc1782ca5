// A test is a function that notes itself; CHECK tells what was wrong and goes on with the next test.
#pragma once

#include <cstdint>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace check {

struct Failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct Test {
    const char *name;
    void (*run)();
};

std::vector<Test> &all();

struct Note {
    Note(const char *name, void (*run)()) { all().push_back({name, run}); }
};

#define TEST(name)                                  \
    static void name();                             \
    static const check::Note note_##name{#name, name}; \
    static void name()

// Wrong unless `holds`; the rest is what a person needs to find out why.
#define CHECK(holds, ...)                                                                      \
    do {                                                                                       \
        if (!(holds)) throw check::Failure(check::text(__FILE__, ":", __LINE__, ": ", #holds, " ", __VA_ARGS__)); \
    } while (false)

template <class... Parts>
std::string text(const Parts &...parts) {
    std::ostringstream out;
    (out << ... << parts);
    return out.str();
}

// Numbers at random, the same for the same seed: each test starts anew from the seed of the run.
class Dice {
  public:
    explicit Dice(uint64_t stream = 0);
    int64_t between(int64_t least, int64_t most) { return std::uniform_int_distribution<int64_t>(least, most)(source_); }
    float normal() { return normal_(source_); }
    uint8_t byte() { return static_cast<uint8_t>(source_()); }
    bool chance(double p) { return std::bernoulli_distribution(p)(source_); }
    template <class T>
    const T &of(const std::vector<T> &values) {
        return values[static_cast<size_t>(between(0, static_cast<int64_t>(values.size()) - 1))];
    }

  private:
    std::mt19937_64 source_;
    std::normal_distribution<float> normal_;
};

extern uint64_t seed;
extern int rounds;  // how many shapes a fuzzing test tries

}  // namespace check
