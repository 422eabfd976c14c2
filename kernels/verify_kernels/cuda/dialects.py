"""The primitives of the restricted subset in CUDA and in C for the host.

CUDA: every operation is an intrinsic with its rounding in its name, which the compiler never
contracts into a fused one. Host: plain operations in round to nearest, compiled without contraction
(`HOST_FLAGS`); a directed operation changes the rounding mode inside a function that is never
inlined and passes its operands through volatile memory, so that no compiler moves it.
"""

from __future__ import annotations

from dataclasses import dataclass

HOST_FLAGS = (
    "-std=c11",
    "-O2",
    "-fno-fast-math",
    "-ffp-contract=off",
    "-frounding-math",
    "-fwrapv",
    "-fPIC",
    "-shared",
)

_CUDA_PRELUDE = """\
#define V_PRIMITIVE static __device__ __forceinline__
#define V_FUNCTION static __device__ __forceinline__

V_PRIMITIVE double v_fma(double a, double b, double c) { return __fma_rn(a, b, c); }
V_PRIMITIVE double v_sqrt(double a) { return __dsqrt_rn(a); }
V_PRIMITIVE double v_abs(double a) { return fabs(a); }
V_PRIMITIVE long long v_bits(double a) { return __double_as_longlong(a); }
V_PRIMITIVE double v_from_bits(long long a) { return __longlong_as_double(a); }
V_PRIMITIVE long long v_to_int(double a) { return __double2ll_rz(a); }
V_PRIMITIVE double v_to_float(long long a) { return __ll2double_rn(a); }
V_PRIMITIVE double v_add_dn(double a, double b) { return __dadd_rd(a, b); }
V_PRIMITIVE double v_add_up(double a, double b) { return __dadd_ru(a, b); }
V_PRIMITIVE double v_sub_dn(double a, double b) { return __dsub_rd(a, b); }
V_PRIMITIVE double v_sub_up(double a, double b) { return __dsub_ru(a, b); }
V_PRIMITIVE double v_mul_dn(double a, double b) { return __dmul_rd(a, b); }
V_PRIMITIVE double v_mul_up(double a, double b) { return __dmul_ru(a, b); }
V_PRIMITIVE double v_div_dn(double a, double b) { return __ddiv_rd(a, b); }
V_PRIMITIVE double v_div_up(double a, double b) { return __ddiv_ru(a, b); }
V_PRIMITIVE double v_sqrt_dn(double a) { return __dsqrt_rd(a); }
V_PRIMITIVE double v_sqrt_up(double a) { return __dsqrt_ru(a); }
"""

_HOST_PRELUDE = """\
#include <fenv.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#define V_PRIMITIVE static inline
#define V_FUNCTION static inline

V_PRIMITIVE double v_fma(double a, double b, double c) { return fma(a, b, c); }
V_PRIMITIVE double v_sqrt(double a) { return sqrt(a); }
V_PRIMITIVE double v_abs(double a) { return fabs(a); }
V_PRIMITIVE long long v_bits(double a) { long long b; memcpy(&b, &a, sizeof b); return b; }
V_PRIMITIVE double v_from_bits(long long a) { double b; memcpy(&b, &a, sizeof b); return b; }
V_PRIMITIVE long long v_to_int(double a) { return (long long)a; }
V_PRIMITIVE double v_to_float(long long a) { return (double)a; }
#define V_DIRECTED(name, mode, expression) \\
  static __attribute__((noinline)) double name(double given_a, double given_b) { \\
    volatile double a = given_a, b = given_b; \\
    fesetround(mode); \\
    volatile double result = expression; \\
    fesetround(FE_TONEAREST); \\
    (void)b; \\
    return result; \\
  }
V_DIRECTED(v_add_dn, FE_DOWNWARD, a + b)
V_DIRECTED(v_add_up, FE_UPWARD, a + b)
V_DIRECTED(v_sub_dn, FE_DOWNWARD, a - b)
V_DIRECTED(v_sub_up, FE_UPWARD, a - b)
V_DIRECTED(v_mul_dn, FE_DOWNWARD, a * b)
V_DIRECTED(v_mul_up, FE_UPWARD, a * b)
V_DIRECTED(v_div_dn, FE_DOWNWARD, a / b)
V_DIRECTED(v_div_up, FE_UPWARD, a / b)
V_DIRECTED(v_root_dn, FE_DOWNWARD, sqrt(a))
V_DIRECTED(v_root_up, FE_UPWARD, sqrt(a))
V_PRIMITIVE double v_sqrt_dn(double a) { return v_root_dn(a, 0.0); }
V_PRIMITIVE double v_sqrt_up(double a) { return v_root_up(a, 0.0); }
"""


@dataclass(frozen=True)
class Dialect:
    """What one target needs: its prelude, its operators and the head of a loop over points."""

    name: str
    prelude: str
    operators: dict[str, str]
    loop_head: str
    loop_over: str


CUDA = Dialect(
    name="cuda",
    prelude=_CUDA_PRELUDE,
    operators={
        "+": "__dadd_rn({0}, {1})",
        "-": "__dsub_rn({0}, {1})",
        "*": "__dmul_rn({0}, {1})",
        "/": "__ddiv_rn({0}, {1})",
    },
    loop_head='extern "C" __global__ void {name}'
    "(const long long n, const double* __restrict__ given, double* __restrict__ found)",
    loop_over="for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < n; "
    "i += (long long)gridDim.x * blockDim.x)",
)
HOST = Dialect(
    name="host",
    prelude=_HOST_PRELUDE,
    operators={sign: f"({{0}} {sign} {{1}})" for sign in "+-*/"},
    loop_head="void {name}(const long long n, const double* restrict given, "
    "double* restrict found)",
    loop_over="for (long long i = 0; i < n; ++i)",
)
DIALECTS = {dialect.name: dialect for dialect in (CUDA, HOST)}
