// Our buffer type in ggml's CPU backend: weights that are put into it are packed for our kernels.
#pragma once

#include "engine.h"
#include "form.h"

#include <functional>
#include <string>
#include <vector>

namespace inhouse {

// Finds the engine's functions; the name of the first that is missing, or "".
std::string find_engine(void *handle, Engine &engine);
// Whether the running engine's structures are as declared in engine.h: "" or what is not.
std::string check_structures(const Engine &engine);

class Plug {
  public:
    Plug(const Engine &engine, const Kernels &kernels);
    std::string prepare();                         // "" or why it cannot be
    std::vector<std::string> test(const std::vector<const Kind *> &kinds);  // compares with the engine: "" or what is wrong
    std::string test_attention();                  // the same; may crash as well
    static std::string use_attention();            // "" or why it cannot be
    void insert(std::vector<BufferType *> &list);  // at the head: asked before the engine's own

    // Types that `answer` does not name are declined. It is asked when the engine asks for the first time whether
    // we take a weight, or by settle().
    void await(std::function<std::vector<const Kind *>()> answer);
    static void settle();
};

}  // namespace inhouse
