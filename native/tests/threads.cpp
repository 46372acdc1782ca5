#include "threads.h"

#include <thread>
#include <vector>

namespace inhouse {

void Threads::wait() {
    std::unique_lock<std::mutex> guard(lock_);
    const long mine = passed_;
    if (++waiting_ == count_) {
        waiting_ = 0;
        passed_++;
        all_here_.notify_all();
    } else {
        all_here_.wait(guard, [&] { return passed_ != mine; });
    }
}

void Threads::run(void *data, size_t size, const std::function<void(Work &)> &part) {
    const auto one = [&](int number) {
        Work work{number, count_, size, data, this, false};
        part(work);
    };
    std::vector<std::thread> others;
    for (int i = 1; i < count_; i++) others.emplace_back(one, i);
    one(0);
    for (std::thread &other : others) other.join();
}

const Engine &Threads::engine() {
    static const Engine made = [] {
        Engine engine{};
        engine.barrier = [](void *pool) { static_cast<Threads *>(pool)->wait(); };
        engine.threadpool_chunk_set = [](void *pool, int value) { static_cast<Threads *>(pool)->chunk_ = value; };
        engine.threadpool_chunk_add = [](void *pool, int value) { return static_cast<Threads *>(pool)->chunk_.fetch_add(value); };
        return engine;
    }();
    return made;
}

}  // namespace inhouse
