// Which tiles an instruction set has: those of every form that its template is made for, and of 16-bit numbers.
#pragma once

#include "form.h"

namespace inhouse {

// Tiles of F16 and BF16; none for other types.
Tiles plain_avx512(int type);
Tiles plain_avx2(int type);
// A row of activations as its form says, for AVX-512.
void quantise_avx512(const RowForm &form, const float *x, int8_t *to);
// A row of floats as it is, filled up with zeros.
void keep_floats(const RowForm &form, const float *x, int8_t *to);

template <int Most>
constexpr Tiles tiles_in(const Tile (&all)[Most]) {
    return {all, Most};
}

// `Of<form>::all` has a tile for 1, 2 .. rows; `type` is ggml's number, as in Kind. Static, since the
// linker would take this for one function: the name of Of is the same in each file.
template <template <const Form &> class Of, Tiles (*Plain)(int)>
static Tiles tiles_of(int type) {
    switch (type) {
        case 2: return tiles_in(Of<forms::q4_0>::all);
        case 3: return tiles_in(Of<forms::q4_1>::all);
        case 6: return tiles_in(Of<forms::q5_0>::all);
        case 7: return tiles_in(Of<forms::q5_1>::all);
        case 8: return tiles_in(Of<forms::q8_0>::all);
        case 10: return tiles_in(Of<forms::q2_K>::all);
        case 11: return tiles_in(Of<forms::q3_K>::all);
        case 12: return tiles_in(Of<forms::q4_K>::all);
        case 13: return tiles_in(Of<forms::q5_K>::all);
        case 14: return tiles_in(Of<forms::q6_K>::all);
        case 20: return tiles_in(Of<forms::iq4_nl>::all);
        case 23: return tiles_in(Of<forms::iq4_xs>::all);
        case 39: return tiles_in(Of<forms::mxfp4>::all);
        default: return Plain(type);
    }
}

}  // namespace inhouse
