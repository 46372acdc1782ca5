// The tiles of avx2.cpp with vpdpbusd, for AVX-VNNI.
#define INHOUSE_AVX_VNNI
#include "avx2.cpp"
