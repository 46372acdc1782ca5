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

extern const AttentionKernel ATTENTION_AVX512, ATTENTION_AVX2;

template <int Most>
constexpr Tiles tiles_in(const Tile (&all)[Most]) {
    return {all, Most};
}

// What `Of` has as its value for the form of a type (ggml's number, as in Kind); nothing for other types. Static, since
// the linker would take this for one function: the name of Of is the same in each file.
template <template <const Form &> class Of, class Value>
static Value by_type(int type) {
    switch (type) {
        case 2: return Of<forms::q4_0>::value;
        case 3: return Of<forms::q4_1>::value;
        case 6: return Of<forms::q5_0>::value;
        case 7: return Of<forms::q5_1>::value;
        case 8: return Of<forms::q8_0>::value;
        case 10: return Of<forms::q2_K>::value;
        case 11: return Of<forms::q3_K>::value;
        case 12: return Of<forms::q4_K>::value;
        case 13: return Of<forms::q5_K>::value;
        case 14: return Of<forms::q6_K>::value;
        case 20: return Of<forms::iq4_nl>::value;
        case 23: return Of<forms::iq4_xs>::value;
        case 39: return Of<forms::mxfp4>::value;
        default: return {};
    }
}

// Tiles of codes, or of 16-bit numbers.
template <template <const Form &> class Of, Tiles (*Plain)(int)>
static Tiles tiles_of(int type) {
    const Tiles found = by_type<Of, Tiles>(type);
    return found ? found : Plain(type);
}

}  // namespace inhouse
