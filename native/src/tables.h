// What the 4-bit codes of types with a table mean: each is an index.
#pragma once

#include <cstdint>

namespace inhouse {

// IQ4_NL and IQ4_XS; MXFP4, in halves of its values. Both shifted by 128, which their forms have as the code for 0.
alignas(16) inline constexpr uint8_t IQ4[16] = {1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241};
alignas(16) inline constexpr uint8_t FP4[16] = {128, 129, 130, 131, 132, 134, 136, 140, 128, 127, 126, 125, 124, 122, 120, 116};

}  // namespace inhouse
