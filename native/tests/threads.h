// The part of the engine that a product meets while it runs: threads that wait for each other, and a counter.
#pragma once

#include "../src/engine.h"

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>

namespace inhouse {

class Threads {
  public:
    explicit Threads(int count) : count_(count) {}
    // Runs `part` on all of them, each with its own number; `data` is the work buffer they share.
    void run(void *data, size_t size, const std::function<void(Work &)> &part);
    // The engine's functions as these threads offer them; all others are missing.
    static const Engine &engine();

  private:
    void wait();

    int count_, waiting_ = 0;
    long passed_ = 0;
    std::atomic<int> chunk_{0};
    std::mutex lock_;
    std::condition_variable all_here_;
};

}  // namespace inhouse
