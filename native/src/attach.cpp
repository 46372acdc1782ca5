// How we come into the engine: the worker calls inhouse_kernels_attach, or a native program loads us as an
// out-of-tree backend (GGML_BACKEND_PATH) and asks ggml_backend_score, which attaches and answers 0: "no
// backend here", since all we are is a type of buffers of the CPU backend.
#include "plug.h"
#include "report.h"

#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <mutex>
#include <sys/wait.h>
#include <unistd.h>

namespace inhouse {
namespace {

constexpr const char *LIST = "_Z39ggml_backend_cpu_get_extra_buffer_typesv";
constexpr unsigned LONGEST_TEST = 60;  // seconds

// Tests in a child process, so that an engine whose insides differ costs a crash there, not here. The child
// tells "type\treason\n" for each type, or "\treason\n" for all.
std::string tested(const Engine &engine, const Kernels &kernels, std::vector<BufferType *> &list) {
    int pipes[2];
    if (pipe(pipes) != 0) return "\tthere is no pipe for the self test\n";
    const pid_t child = fork();
    if (child < 0) {
        close(pipes[0]);
        close(pipes[1]);
        return "\tthere is no process for the self test\n";
    }
    if (child == 0) {
        alarm(LONGEST_TEST);
        Plug plug(engine, kernels);
        std::string told, wrong = plug.prepare();
        if (!wrong.empty()) told = "\t" + wrong + "\n";
        if (wrong.empty()) {
            plug.insert(list);
            int count;
            const Kind *all = kinds(count);
            for (int i = 0; i < count; i++)
                if (kernels.tiles(all[i].type)) told += std::string(all[i].name) + "\t" + plug.test(all[i]) + "\n";
        }
        for (size_t sent = 0; sent < told.size();) {
            const ssize_t n = write(pipes[1], told.data() + sent, told.size() - sent);
            if (n <= 0) _exit(2);
            sent += static_cast<size_t>(n);
        }
        _exit(0);
    }
    close(pipes[1]);
    std::string told;
    char part[4096];
    for (ssize_t n; (n = read(pipes[0], part, sizeof part)) > 0;) told.append(part, static_cast<size_t>(n));
    close(pipes[0]);
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) return "\tthe self test ended with signal " + std::to_string(WTERMSIG(status)) + "\n";
    return status == 0 && !told.empty() ? told : "\tthe self test failed\n";
}

std::string attach(void *handle) {
    const char *wanted = std::getenv("INHOUSE_KERNELS");
    if (wanted && std::strcmp(wanted, "off") == 0) return "switched off by INHOUSE_KERNELS";
    std::string none;
    const Kernels *kernels = best_kernels(&none);
    if (!kernels) return none;
    report().isa = kernels->isa;
    static Engine engine;
    if (std::string missing = find_engine(handle, engine); !missing.empty()) return missing;
    using List = std::vector<BufferType *> &(*)();
    const auto list = reinterpret_cast<List>(dlsym(handle, LIST));
    if (!list) return "the engine's list of buffer types cannot be reached";

    const std::string told = tested(engine, *kernels, list());
    std::vector<const Kind *> good;
    int count;
    const Kind *all = kinds(count);
    for (size_t at = 0; at < told.size();) {
        const size_t tab = told.find('\t', at), end = told.find('\n', at);
        if (tab == std::string::npos || end == std::string::npos) return "the self test was cut off";
        const std::string name = told.substr(at, tab - at), why = told.substr(tab + 1, end - tab - 1);
        if (name.empty()) return why;
        report().types[name] = why;
        for (int i = 0; i < count; i++)
            if (why.empty() && name == all[i].name) good.push_back(&all[i]);
        at = end + 1;
    }
    if (good.empty()) return "no kernel passed its self test";
    static Plug plug(engine, *kernels);
    if (std::string wrong = plug.prepare(); !wrong.empty()) return wrong;
    plug.keep(good);
    plug.insert(list());
    return "";
}

}  // namespace
}  // namespace inhouse

#define EXPORTED extern "C" __attribute__((visibility("default")))

EXPORTED int inhouse_kernels_attach(void *handle) {
    static std::once_flag once;
    std::call_once(once, [handle] {
        auto &told = inhouse::report();
        told.why = inhouse::attach(handle ? handle : RTLD_DEFAULT);
        told.on = told.why.empty();
        told.write();
    });
    return inhouse::report().on ? 1 : 0;
}

EXPORTED const char *inhouse_kernels_report() { return inhouse::report().json(); }

// For programs that load no backends: LD_PRELOAD with INHOUSE_KERNELS=preload.
__attribute__((constructor)) static void preloaded() {
    const char *wanted = std::getenv("INHOUSE_KERNELS");
    if (wanted && std::strcmp(wanted, "preload") == 0) inhouse_kernels_attach(nullptr);
}

EXPORTED int ggml_backend_score() {
    inhouse_kernels_attach(nullptr);
    return 0;
}

EXPORTED void *ggml_backend_init() {
    inhouse_kernels_attach(nullptr);
    return nullptr;
}
