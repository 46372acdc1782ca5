// A part of the program that may crash or hang: it runs in a child process and tells lines.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include <sys/types.h>

namespace inhouse {

class Child {
  public:
    using Tell = std::function<void(const std::string &line)>;

    // Starts it; it is given up when it has not come to its end after so many seconds.
    Child(int seconds, const std::function<void(const Tell &)> &part);
    ~Child() { end(); }
    Child(const Child &) = delete;
    Child &operator=(const Child &) = delete;

    // Waits for the next line. None: the part came to its end, or wrong() says what happened.
    std::optional<std::string> line();
    // Of a part that tells one line: that, once it has come to its end, so that no process is left.
    std::optional<std::string> only_line();
    const std::string &wrong() const { return wrong_; }

  private:
    bool more();
    void end(const std::string &why = "");

    pid_t child_ = -1, parent_;
    int from_ = -1;
    std::chrono::steady_clock::time_point until_;
    int seconds_;
    std::string told_, wrong_;
};

}  // namespace inhouse
