// usage: kernel_tests [--seed N] [--rounds N] [NAME ...]
//
// Runs the tests whose names hold one of NAMES, or all. A failure prints the seed with which it comes again.
#include "matrix.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace check {

uint64_t seed = 1;
int rounds = 60;

std::vector<Test> &all() {
    static std::vector<Test> tests;
    return tests;
}

Dice::Dice(uint64_t stream) : source_(seed * 1000003 + stream) {}

}  // namespace check

namespace {

bool run(const check::Test &test) {
    const auto start = std::chrono::steady_clock::now();
    std::string wrong;
    try {
        test.run();
    } catch (const check::Failure &failure) {
        wrong = failure.what();
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    std::printf("%s %s (%.1f s)\n", wrong.empty() ? "ok    " : "FAILED", test.name, took.count());
    if (!wrong.empty()) std::printf("       %s\n", wrong.c_str());
    std::fflush(stdout);
    return wrong.empty();
}

}  // namespace

int main(int count, char **words) {
    std::vector<const char *> names;
    for (int i = 1; i < count; i++) {
        const bool more = i + 1 < count;
        if (more && std::strcmp(words[i], "--seed") == 0) {
            check::seed = std::strtoull(words[++i], nullptr, 10);
        } else if (more && std::strcmp(words[i], "--rounds") == 0) {
            check::rounds = std::atoi(words[++i]);
        } else {
            names.push_back(words[i]);
        }
    }
    std::printf("seed %llu, %d rounds; kernels:", static_cast<unsigned long long>(check::seed), check::rounds);
    for (const inhouse::Kernels *kernels : inhouse::all_kernels()) std::printf(" %s", kernels->isa);
    std::printf("\n");
    int ran = 0, failed = 0;
    for (const check::Test &test : check::all()) {
        bool wanted = names.empty();
        for (const char *name : names) wanted |= std::strstr(test.name, name) != nullptr;
        if (!wanted) continue;
        ran++;
        failed += !run(test);
    }
    std::printf("%d tests, %d failed (seed %llu)\n", ran, failed, static_cast<unsigned long long>(check::seed));
    return ran == 0 || failed > 0;
}
