// Our buffer type in ggml's CPU backend: weights that are put into it are packed for our kernels.
#pragma once

#include "engine.h"
#include "form.h"

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
    std::string prepare();                        // "" or why it cannot be
    std::string test(const Kind &kind);           // compares with the engine: "" or what is wrong
    void keep(const std::vector<const Kind *> &good);
    void insert(std::vector<BufferType *> &list); // at the head: asked before the engine's own
};

}  // namespace inhouse
