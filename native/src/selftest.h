// What a type's results are compared with: the engine's own.
#pragma once

#include "engine.h"
#include "form.h"

#include <string>
#include <vector>

namespace inhouse {

// Of each type "" or what is wrong with it when its weights lie in a buffer of the type `ours`. May crash where
// the engine's insides differ from what we know, so that it belongs into a child process.
std::vector<std::string> self_test(const Engine &engine, BufferType *ours, const std::vector<const Kind *> &kinds);

}  // namespace inhouse
