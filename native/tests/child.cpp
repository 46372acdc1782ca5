// A part that runs in a child process: what it tells comes, and however it ends, the parent goes on.
#include "../src/child.h"
#include "check.h"

#include <chrono>
#include <csignal>

#include <sys/wait.h>
#include <unistd.h>

using inhouse::Child;

namespace {

std::vector<std::string> lines_of(Child &child) {
    std::vector<std::string> lines;
    while (const auto line = child.line()) lines.push_back(*line);
    return lines;
}

bool has_children() { return waitpid(-1, nullptr, WNOHANG) >= 0; }

}  // namespace

TEST(what_a_child_tells_comes_line_by_line) {
    Child child(20, [](const Child::Tell &tell) {
        tell("");
        for (int i = 0; i < 3; i++) tell(std::string(3000, static_cast<char>('a' + i)));
    });
    const auto lines = lines_of(child);
    CHECK(lines.size() == 4 && lines[0].empty() && lines[3] == std::string(3000, 'c'), lines.size(), " lines");
    CHECK(child.wrong().empty(), child.wrong());
    CHECK(!has_children(), "a process is left");
}

TEST(a_child_that_tells_one_line_leaves_no_process) {
    Child child(20, [](const Child::Tell &tell) { tell("all"); });
    const auto told = child.only_line();
    CHECK(told && *told == "all" && child.wrong().empty(), child.wrong());
    CHECK(!has_children(), "a process is left");
    Child failing(20, [](const Child::Tell &tell) {
        tell("all");
        _exit(0);
    });
    CHECK(!failing.only_line() && !failing.wrong().empty(), "it failed after its line");
    CHECK(!has_children(), "a process is left");
}

TEST(a_child_that_crashes_is_told_with_its_signal) {
    Child child(20, [](const Child::Tell &tell) {
        tell("first");
        signal(SIGSEGV, SIG_DFL);
        raise(SIGSEGV);
    });
    const auto lines = lines_of(child);
    CHECK(lines.size() == 1 && lines[0] == "first", lines.size(), " lines");
    CHECK(child.wrong() == "the self test ended with signal 11", child.wrong());
    CHECK(!has_children(), "a process is left");
}

TEST(a_child_that_leaves_before_its_end_failed) {
    Child child(20, [](const Child::Tell &) { _exit(0); });
    CHECK(!child.line() && child.wrong() == "the self test failed", child.wrong());
    CHECK(!has_children(), "a process is left");
}

TEST(a_child_that_hangs_is_given_up) {
    const auto start = std::chrono::steady_clock::now();
    Child child(1, [](const Child::Tell &tell) {
        tell("first");
        for (;;) pause();
    });
    CHECK(lines_of(child).size() == 1, "no line");
    CHECK(child.wrong() == "the self test did not end within 1 s", child.wrong());
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(10), "it took too long");
    CHECK(!has_children(), "a process is left");
}

TEST(a_process_that_was_forked_meanwhile_does_not_hear_the_child_of_another) {
    Child child(20, [](const Child::Tell &tell) { tell("first"); });
    const pid_t other = fork();
    if (other == 0) _exit(!child.line() && !child.wrong().empty() ? 0 : 1);
    int status = 0;
    waitpid(other, &status, 0);
    CHECK(status == 0, "it heard");
    CHECK(child.line() == "first", "its own parent did not");
}
