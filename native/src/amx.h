// What belongs to the matrix unit's kernels: whether they can be used, and for which types that is worth it.
#pragma once

#include "tiles.h"

namespace inhouse {

extern const Kernels AMX, AVX512_BF16;

// Types (bits by number) whose products use the unit.
extern uint64_t AMX_TYPES;

// The processor has the unit, and its system lets this process use it; asks for that, so only if it is wanted.
bool has_amx();

// Types whose products of many rows at once are right, and quicker than with tiles, if that matters.
uint64_t types_worth(const Kernels &kernels, bool quicker);

// `best`, or the next best where that is AMX but no type is quicker with it, and why. Types that are slower
// than tiles of AVX-512 use these, unless AMX was asked for; those that differ always do.
const Kernels *worthwhile(const Kernels &best, std::string &why);

}  // namespace inhouse
