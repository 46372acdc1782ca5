// What a person is told: whether the kernels are on, for which types, and how many tensors they hold.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <mutex>
#include <string>

namespace inhouse {

class Report {
  public:
    bool on = false;
    std::string why, isa;
    std::string passed_over;                   // why not a better isa that the processor has
    std::map<std::string, std::string> types;  // "" or why not

    void expect(size_t bytes);                    // a buffer for weights
    void packed(const char *type, size_t bytes);  // thread safe; written now and then, and when all that was expected is there
    const char *json();                           // until the next call
    void write();                                 // into the file that INHOUSE_KERNELS_REPORT names

  private:
    std::mutex lock_;
    std::map<std::string, long> tensors_;
    size_t bytes_ = 0, expected_ = 0;
    std::chrono::steady_clock::time_point written_;
    std::string text_;
    void render();
};

Report &report();

}  // namespace inhouse
