#include "report.h"

#include <cstdio>
#include <cstdlib>

#ifndef INHOUSE_KERNELS_VERSION
#define INHOUSE_KERNELS_VERSION "0"
#endif

namespace inhouse {
namespace {

constexpr std::chrono::milliseconds SELDOM{100};  // a file for each tensor would cost more than packing it

std::string quoted(const std::string &text) {
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') out += '\\';
        out += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    }
    return out + '"';
}

template <class Map, class Show>
std::string object(const Map &map, Show show) {
    std::string out;
    for (const auto &[key, value] : map) out += (out.empty() ? "" : ", ") + quoted(key) + ": " + show(value);
    return "{" + out + "}";
}

}  // namespace

void Report::render() {
    text_ = std::string("{\"version\": ") + quoted(INHOUSE_KERNELS_VERSION) + ", \"on\": " + (on ? "true" : "false") +
            ", \"why\": " + quoted(why) + ", \"isa\": " + quoted(isa) + ", \"passed_over\": " + quoted(passed_over) +
            ", \"types\": " + object(types, quoted) +
            ", \"tensors\": " + object(tensors_, [](long n) { return std::to_string(n); }) + ", \"bytes\": " + std::to_string(bytes_) + "}";
}

void Report::expect(size_t bytes) {
    const std::lock_guard<std::mutex> guard(lock_);
    expected_ += bytes;
}

void Report::packed(const char *type, size_t bytes) {
    bool now;
    {
        const std::lock_guard<std::mutex> guard(lock_);
        tensors_[type]++;
        bytes_ += bytes;
        now = bytes_ >= expected_ || std::chrono::steady_clock::now() - written_ > SELDOM;
    }
    if (now) write();
}

const char *Report::json() {
    const std::lock_guard<std::mutex> guard(lock_);
    render();
    return text_.c_str();
}

void Report::write() {
    const char *path = std::getenv("INHOUSE_KERNELS_REPORT");
    if (!path || !*path) return;
    const std::lock_guard<std::mutex> guard(lock_);
    render();
    written_ = std::chrono::steady_clock::now();
    const std::string part = std::string(path) + ".part";
    std::FILE *file = std::fopen(part.c_str(), "w");
    if (!file) return;
    const bool whole = std::fputs(text_.c_str(), file) >= 0;
    if (std::fclose(file) == 0 && whole) std::rename(part.c_str(), path);
}

Report &report() {
    static Report *one = new Report;  // weights may be packed while the process ends
    return *one;
}

}  // namespace inhouse
