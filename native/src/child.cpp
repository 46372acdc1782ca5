#include "child.h"

#include <cerrno>
#include <csignal>

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

namespace inhouse {
namespace {

constexpr char END = '\0';  // behind the last line

void send(int to, const std::string &text) {
    for (size_t sent = 0; sent < text.size();) {
        const ssize_t n = write(to, text.data() + sent, text.size() - sent);
        if (n < 0 && errno != EINTR) _exit(2);
        if (n > 0) sent += static_cast<size_t>(n);
    }
}

}  // namespace

Child::Child(int seconds, const std::function<void(const Tell &)> &part)
    : parent_(getpid()), until_(std::chrono::steady_clock::now() + std::chrono::seconds(seconds)), seconds_(seconds) {
    int pipes[2];
    if (pipe2(pipes, O_CLOEXEC) != 0) {
        wrong_ = "there is no pipe for the self test";
        return;
    }
    child_ = fork();
    if (child_ == 0) {
        signal(SIGALRM, SIG_DFL);
        alarm(static_cast<unsigned>(seconds) + 5);  // should nobody be left to end it
        part([&](const std::string &line) { send(pipes[1], line + '\n'); });
        send(pipes[1], std::string(1, END));
        _exit(0);
    }
    close(pipes[1]);
    from_ = pipes[0];
    if (child_ < 0) end("there is no process for the self test");
}

// Ends it and notes why, unless it has come to its end.
void Child::end(const std::string &why) {
    if (from_ < 0) return;
    close(from_);
    from_ = -1;
    wrong_ = why;
    if (child_ < 0 || getpid() != parent_) return;
    int status = 0;
    kill(child_, SIGKILL);
    while (waitpid(child_, &status, 0) < 0 && errno == EINTR) {}
    if (!why.empty() && WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL) wrong_ = "the self test ended with signal " + std::to_string(WTERMSIG(status));
}

bool Child::more() {
    if (getpid() != parent_) {  // forked since: what the child tells is for another
        end("the self test belongs to another process");
        return false;
    }
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until_ - std::chrono::steady_clock::now()).count();
    pollfd waiting{from_, POLLIN, 0};
    const int ready = poll(&waiting, 1, static_cast<int>(left > 0 ? left : 0));
    if (ready < 0 && errno == EINTR) return true;
    if (ready == 0) end("the self test did not end within " + std::to_string(seconds_) + " s");
    if (ready <= 0) {
        end("the self test cannot be heard");
        return false;
    }
    char part[4096];
    const ssize_t n = read(from_, part, sizeof part);
    if (n > 0) told_.append(part, static_cast<size_t>(n));
    if (n == 0) end("the self test failed");  // it is gone, and a signal from here changes no more what it ended with
    return from_ >= 0;
}

std::optional<std::string> Child::line() {
    while (from_ >= 0) {
        const size_t at = told_.find_first_of(std::string("\n") + END);
        if (at != std::string::npos) {
            const std::string found = told_.substr(0, at);
            const bool last = told_[at] == END;
            told_.erase(0, at + 1);
            if (!last) return found;
            end();
        } else if (!more()) {
            break;
        }
    }
    return std::nullopt;
}

std::optional<std::string> Child::only_line() {
    const auto told = line();
    while (line()) {}
    return wrong_.empty() ? told : std::nullopt;
}

}  // namespace inhouse
