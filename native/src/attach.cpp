// How we come into the engine: the worker calls inhouse_kernels_attach, or a native program loads us as an
// out-of-tree backend (GGML_BACKEND_PATH) and asks ggml_backend_score, which attaches and answers 0: "no
// backend here", since all we are is a type of buffers of the CPU backend.
#include "amx.h"
#include "child.h"
#include "plug.h"
#include "report.h"

#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <mutex>

namespace inhouse {
namespace {

constexpr const char *LIST = "_Z39ggml_backend_cpu_get_extra_buffer_typesv";
constexpr int LONGEST_TEST = 30;  // seconds

// What the self test says, so far as it is read: "" once the engine's structures are as we know them, or why they
// are not; then "type\treason" for each type.
Child *TEST;
// And of attention "" or why not. It has a child of its own: what ends it does not end the others.
Child *ATTENTION_TEST;

std::vector<const Kind *> types_of(const Kernels &kernels) {
    std::vector<const Kind *> found;
    int count;
    const Kind *all = kinds(count);
    for (int i = 0; i < count; i++)
        if (kernels.tiles(all[i].type)) found.push_back(&all[i]);
    return found;
}

// The types that passed; the report knows why others did not. Whatever ends the test before its time ends all.
std::vector<const Kind *> passed(const std::vector<const Kind *> &types) {
    std::vector<const Kind *> good;
    Report &told = report();
    while (const auto line = TEST->line()) {
        const size_t tab = line->find('\t');
        const std::string name = line->substr(0, tab), why = tab == std::string::npos ? "?" : line->substr(tab + 1);
        told.types[name] = why;
        for (const Kind *kind : types)
            if (why.empty() && name == kind->name) good.push_back(kind);
    }
    told.why = TEST->wrong();
    if (!told.why.empty()) good.clear();
    if (told.why.empty() && good.empty()) told.why = "no kernel passed its self test";
    told.on = !good.empty();
    const auto attention = ATTENTION_TEST->only_line();
    std::string why = attention ? *attention : ATTENTION_TEST->wrong().empty() ? "its self test said nothing" : ATTENTION_TEST->wrong();
    if (why.empty() && told.on) why = Plug::use_attention();
    told.types["attention"] = why;  // beside the types of weights
    told.write();
    return good;
}

// The self test runs in a child, so that an engine whose insides differ costs a crash there, not here. It says
// first whether the engine's structures are as we know them, which is soon and is waited for: only then do we do the
// same ourselves. What its comparisons say is asked for when the engine asks for the first time whether we take
// a weight; meanwhile it goes on to start, beside the test.
std::string attach(void *handle) {
    const char *wanted = std::getenv("INHOUSE_KERNELS");
    if (wanted && std::strcmp(wanted, "off") == 0) return "switched off by INHOUSE_KERNELS";
    std::string none;
    const Kernels *kernels = best_kernels(&none);
    if (!kernels) return none;
    kernels = worthwhile(*kernels, report().passed_over);
    report().isa = kernels->isa;
    static Engine engine;
    if (std::string missing = find_engine(handle, engine); !missing.empty()) return missing;
    using List = std::vector<BufferType *> &(*)();
    const auto list = reinterpret_cast<List>(dlsym(handle, LIST));
    if (!list) return "the engine's list of buffer types cannot be reached";

    static const std::vector<const Kind *> types = types_of(*kernels);
    TEST = new Child(LONGEST_TEST, [&](const Child::Tell &tell) {
        Plug plug(engine, *kernels);
        const std::string wrong = plug.prepare();
        if (wrong.empty()) plug.insert(list());
        tell(wrong);
        if (!wrong.empty()) return;
        const std::vector<std::string> told = plug.test(types);
        for (size_t i = 0; i < types.size(); i++) tell(std::string(types[i]->name) + '\t' + told[i]);
    });
    const auto first = TEST->line();
    if (!first) return TEST->wrong().empty() ? "the self test said nothing" : TEST->wrong();
    if (!first->empty()) {
        while (TEST->line()) {}  // it has no more to tell, and leaves no process
        return *first;
    }
    static Plug plug(engine, *kernels);
    if (std::string wrong = plug.prepare(); !wrong.empty()) return wrong;
    plug.insert(list());
    ATTENTION_TEST = new Child(LONGEST_TEST, [&](const Child::Tell &tell) { tell(plug.test_attention()); });
    plug.await([] { return passed(types); });
    std::atexit(Plug::settle);  // who asked for nothing is still told the truth
    return "";
}

}  // namespace
}  // namespace inhouse

#define EXPORTED extern "C" __attribute__((visibility("default")))

EXPORTED int inhouse_kernels_attach(void *handle) {
    static std::once_flag once;
    static bool in = false;
    std::call_once(once, [handle] {
        auto &told = inhouse::report();
        told.why = inhouse::attach(handle ? handle : RTLD_DEFAULT);
        in = told.why.empty();
        if (in) told.why = "the self test has not ended";
        told.write();
    });
    return in ? 1 : 0;
}

EXPORTED const char *inhouse_kernels_report() {
    inhouse::Plug::settle();
    return inhouse::report().json();
}

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
