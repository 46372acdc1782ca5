"""llama.cpp's quantisation types: how many bits a weight takes, and which need an importance matrix.

Bits per weight were measured by llama.cpp on Llama 3.1 8B (tools/quantize/README.md); those it does not
list are the type's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class QuantType:
    """``bits`` per weight on average; ``description`` for a list that a person chooses from."""

    bits: float
    description: str
    needs_imatrix: bool = False


TYPES: Final[Mapping[str, QuantType]] = {
    "F32": QuantType(32.0, "32-bit floats"),
    "BF16": QuantType(16.0, "16-bit floats with the range of 32-bit ones"),
    "F16": QuantType(16.0, "16-bit floats"),
    "Q8_0": QuantType(8.5, "nearly lossless"),
    "Q6_K": QuantType(6.56, "very close to the original"),
    "Q5_K_M": QuantType(5.70, "close to the original"),
    "Q5_K_S": QuantType(5.57, "close to the original, a little smaller"),
    "Q5_1": QuantType(6.0, "older; Q5_K_M is better"),
    "Q5_0": QuantType(5.5, "older; Q5_K_S is better"),
    "Q4_K_M": QuantType(4.89, "the usual choice: small and good"),
    "Q4_K_S": QuantType(4.67, "a little smaller than Q4_K_M"),
    "Q4_1": QuantType(5.0, "older; Q4_K_M is better"),
    "Q4_0": QuantType(4.5, "older, fast on some CPUs"),
    "IQ4_NL": QuantType(4.68, "4 bits, unevenly spaced"),
    "IQ4_XS": QuantType(4.46, "smaller than Q4_K_S at like quality"),
    "Q3_K_L": QuantType(4.30, "3 bits with more for what matters"),
    "Q3_K_M": QuantType(4.00, "3 bits; a loss that shows"),
    "Q3_K_S": QuantType(3.64, "3 bits; a clear loss"),
    "IQ3_M": QuantType(3.76, "3 bits; better than Q3_K_S"),
    "IQ3_S": QuantType(3.66, "3 bits; better than Q3_K_S at its size"),
    "IQ3_XS": QuantType(3.50, "3 bits, smaller", True),
    "IQ3_XXS": QuantType(3.25, "3 bits, smallest", True),
    "Q2_K": QuantType(3.16, "2 bits; a large loss"),
    "Q2_K_S": QuantType(2.97, "2 bits, smaller", True),
    "IQ2_M": QuantType(2.93, "2 bits, for models that fit no other way", True),
    "IQ2_S": QuantType(2.74, "2 bits", True),
    "IQ2_XS": QuantType(2.59, "2 bits", True),
    "IQ2_XXS": QuantType(2.38, "2 bits, smallest", True),
    "IQ1_M": QuantType(2.15, "below 2 bits; a last resort", True),
    "IQ1_S": QuantType(2.00, "smallest of all; a last resort", True),
    "TQ2_0": QuantType(2.06, "for models trained with ternary weights"),
    "TQ1_0": QuantType(1.69, "for models trained with ternary weights, smaller"),
    "Q2_0": QuantType(2.25, "for models trained for it"),
    "Q1_0": QuantType(1.125, "for models trained with binary weights"),
    "MXFP4_MOE": QuantType(4.25, "4-bit floats for mixture-of-experts models such as gpt-oss"),
}

ALIASES: Final[Mapping[str, str]] = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}
