// The types of weights that there are forms for. Compiled for any processor, as it is asked before ours is known.
#include "form.h"

namespace inhouse {
namespace {

constexpr Kind KINDS[] = {
    {1, "f16", forms::f16, 2},      {30, "bf16", forms::bf16, 2},
    {2, "q4_0", forms::q4_0, 18},      {3, "q4_1", forms::q4_1, 20},
    {6, "q5_0", forms::q5_0, 22},      {7, "q5_1", forms::q5_1, 24},
    {8, "q8_0", forms::q8_0, 34},      {10, "q2_K", forms::q2_K, 84},
    {11, "q3_K", forms::q3_K, 110},    {12, "q4_K", forms::q4_K, 144},
    {13, "q5_K", forms::q5_K, 176},    {14, "q6_K", forms::q6_K, 210},
    {20, "iq4_nl", forms::iq4_nl, 18}, {23, "iq4_xs", forms::iq4_xs, 136},
    {39, "mxfp4", forms::mxfp4, 17},
};

}  // namespace

const Kind *kinds(int &count) {
    count = sizeof KINDS / sizeof *KINDS;
    return KINDS;
}

const Kind *kind_of(int type) {
    for (const Kind &k : KINDS)
        if (k.type == type) return &k;
    return nullptr;
}

}  // namespace inhouse
