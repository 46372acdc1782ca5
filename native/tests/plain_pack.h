// The plain way to make panels, which pack() is compared with.
#pragma once

#include "../src/form.h"

namespace inhouse {

void plain_pack(const Kind &kind, const uint8_t *file, int64_t columns, int64_t k, uint8_t *to);

}  // namespace inhouse
