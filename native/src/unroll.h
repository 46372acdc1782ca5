// Before a loop whose variables are to live in registers.
#pragma once

#define UNROLL _Pragma("GCC unroll 16")
