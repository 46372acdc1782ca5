// Which tiles an instruction set has: those of every form that its template is made for, and of 16-bit numbers.
#pragma once

#include "form.h"

namespace inhouse {

// Tiles of F16 and BF16; nullptr for other types.
const Tile *plain_avx512(int type);
const Tile *plain_avx2(int type);
// A row of floats as it is, filled up with zeros.
void keep_floats(const RowForm &form, const float *x, int8_t *to);

// `Of<form>::all` has a tile for 1, 2 .. MOST_ROWS rows; `type` is ggml's number, as in Kind. Static, since the
// linker would take this for one function: the name of Of is the same in each file.
template <template <const Form &> class Of, const Tile *(*Plain)(int)>
static const Tile *tiles_of(int type) {
    switch (type) {
        case 2: return Of<forms::q4_0>::all;
        case 3: return Of<forms::q4_1>::all;
        case 6: return Of<forms::q5_0>::all;
        case 7: return Of<forms::q5_1>::all;
        case 8: return Of<forms::q8_0>::all;
        case 10: return Of<forms::q2_K>::all;
        case 11: return Of<forms::q3_K>::all;
        case 12: return Of<forms::q4_K>::all;
        case 13: return Of<forms::q5_K>::all;
        case 14: return Of<forms::q6_K>::all;
        case 20: return Of<forms::iq4_nl>::all;
        case 23: return Of<forms::iq4_xs>::all;
        case 39: return Of<forms::mxfp4>::all;
        default: return Plain(type);
    }
}

}  // namespace inhouse
