"""Choosing one model among the GGUF files of a repository."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhouse.core.errors import ModelNotFound
from inhouse.store.quants import PREFERENCE, Choice, choose, group, projector, quant_of

GB = 10**9


def choices(**sizes):
    """``Q4_K_M=2.4``: gigabytes."""
    return group((f"model-{quant}.gguf", int(size * GB)) for quant, size in sizes.items())


@pytest.mark.parametrize(
    ("file", "quant"),
    [
        ("model.Q4_K_M.gguf", "Q4_K_M"),
        ("Model-UD-Q4_K_XL-00001-of-00002.gguf", "UD-Q4_K_XL"),
        ("x-IQ3_XXS.gguf", "IQ3_XXS"),
        ("Qwen2.5-7B-Instruct-BF16.gguf", "BF16"),
        ("phi-4-bf16.gguf", "BF16"),
        ("llama-f16.gguf", "F16"),
        ("llama-fp16.gguf", "F16"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("gpt-oss-20b-MXFP4_MOE.gguf", "MXFP4_MOE"),
        ("Q4_K_M/model-00001-of-00002.gguf", "Q4_K_M"),
        ("Q8_0/model-Q4_0.gguf", "Q4_0"),
        ("gemma-3-4b-it-q4_0.gguf", "Q4_0"),
        ("tinyllama-TQ1_0.gguf", "TQ1_0"),
        ("mixtral.Q5_K_S.GGUF", "Q5_K_S"),
        ("Mixtral-8x7B-Q3_K_L.gguf", "Q3_K_L"),
        ("model-Q6_K.gguf", "Q6_K"),
        ("Q4.gguf", ""),
        ("model.gguf", ""),
        ("SQ4_0.gguf", ""),
        ("smollm2-135m.gguf", ""),
    ],
)
def test_the_quant_is_read_from_the_name(file, quant):
    assert quant_of(file) == quant


@given(st.text(max_size=60))
def test_any_name_has_a_quant_or_none(name):
    assert quant_of(name) == quant_of(name).upper()


def test_a_split_set_is_one_choice_with_its_parts_in_order():
    files = [(f"UD-IQ1_S/m-UD-IQ1_S-0000{n}-of-00003.gguf", n) for n in (3, 1, 2)]
    (only,) = group(files)
    assert only.parts == tuple(f"UD-IQ1_S/m-UD-IQ1_S-0000{n}-of-00003.gguf" for n in (1, 2, 3))
    assert (only.file, only.size) == (only.parts[0], 6)


def test_a_split_set_with_a_part_missing_is_no_choice():
    assert group([("m-00001-of-00003.gguf", 1), ("m-00003-of-00003.gguf", 1)]) == []
    assert group([("m-00000-of-00000.gguf", 1)]) == []


def test_the_size_of_a_set_is_unknown_when_a_parts_is():
    (only,) = group([("m-00001-of-00002.gguf", 5), ("m-00002-of-00002.gguf", 0)])
    assert only.size == 0


def test_sets_of_two_quants_are_two_choices():
    found = group((f"m-{q}-0000{n}-of-00002.gguf", 1) for q in ("Q4_K_M", "Q8_0") for n in (1, 2))
    assert [c.file for c in found] == ["m-Q4_K_M-00001-of-00002.gguf", "m-Q8_0-00001-of-00002.gguf"]


def test_what_is_no_model_is_left_out():
    files = ["mmproj-F16.gguf", "m-mmproj-f16.gguf", "imatrix.gguf", "m.imatrix.gguf", "README.md"]
    files += ["mtp-m-Q8_0.gguf", "eagle3-m-Q8_0.gguf", "m.safetensors", "m-draft-Q4_0.gguf", "m-Q4_0.gguf"]
    assert [c.file for c in group((f, 1) for f in files)] == ["m-Q4_0.gguf"]


def test_a_model_quantised_with_an_imatrix_is_a_model():
    assert [c.file for c in group([("m-imatrix-Q4_K_M.gguf", 1)])] == ["m-imatrix-Q4_K_M.gguf"]


def test_draft_models_are_taken_where_there_is_nothing_else():
    assert [c.file for c in group([("m-DRAFT-Q4_0.gguf", 1)])] == ["m-DRAFT-Q4_0.gguf"]


@pytest.mark.parametrize(
    ("files", "taken"),
    [
        (["mmproj-BF16.gguf", "mmproj-F16.gguf", "mmproj-F32.gguf"], "mmproj-F16.gguf"),
        (["mmproj-F32.gguf", "mmproj-BF16.gguf"], "mmproj-BF16.gguf"),
        (["mmproj-m-Q8_0.gguf", "mmproj-m-f32.gguf"], "mmproj-m-f32.gguf"),
        (["mmproj-m-Q8_0.gguf", "mmproj-m.gguf"], "mmproj-m-Q8_0.gguf"),
        (["m-mmproj.gguf", "m-Q4_0.gguf"], "m-mmproj.gguf"),
        (["m-Q4_0.gguf", "mmproj.json", "mmproj/readme.md"], ""),
    ],
)
def test_the_projector_is_the_f16_one_if_there_is(files, taken):
    assert projector(files) == taken


def test_four_bits_are_taken_where_they_fit():
    chosen = choose(choices(Q8_0=4.4, Q4_K_M=2.4, Q2_K=1.3, F16=8.0), "", 16 * GB)
    assert chosen.quant == "Q4_K_M"
    assert chosen.said == "Q4_K_M (2.4 GB) chosen of 4 quantisations."


def test_the_next_smaller_that_fits_is_taken_and_said_aloud():
    found = choices(Q8_0=4.4, Q4_K_M=2.4, Q4_K_S=2.2, Q3_K_M=1.3, Q2_K=1.0)
    chosen = choose(found, "", int(2.1 * GB))
    assert chosen.quant == "Q3_K_M"
    assert chosen.said == "Q3_K_M (1.3 GB) chosen: Q4_K_M (2.4 GB) does not fit into 2.1 GB of memory."


def test_memory_beside_the_weights_is_counted():
    size = 2.0
    need = int(size * GB * 1.15) + 2**29
    found = choices(Q4_K_M=size, Q2_K=1.0)
    assert choose(found, "", need + 1).quant == "Q4_K_M"
    assert choose(found, "", need - 1000).quant == "Q2_K"


def test_the_smallest_is_taken_when_nothing_fits_and_that_is_said():
    chosen = choose(choices(Q4_K_M=2.4, Q2_K=1.0, IQ2_M=1.1), "", GB)
    assert chosen.quant == "Q2_K"
    assert "smallest" in chosen.said
    assert "may not fit into 1.0 GB" in chosen.said
    assert "the only one" in choose(choices(F16=9.0), "", GB).said


def test_unknown_room_and_unknown_sizes_do_not_forbid():
    assert choose(choices(Q4_K_M=900, Q2_K=500), "", 0).quant == "Q4_K_M"
    assert choose(choices(Q4_K_M=0, Q2_K=0.5), "", 2**30 * 2).quant == "Q4_K_M"


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        (["F16", "Q8_0", "BF16", "F32"], "Q8_0"),
        (["F32", "BF16", "F16"], "F16"),
        (["F32", "BF16"], "BF16"),
        (["Q8_0", "Q5_K_M", "Q3_K_M"], "Q5_K_M"),
        (["Q6_K", "Q3_K_M"], "Q6_K"),
        (["Q3_K_M", "F16"], "Q3_K_M"),
        (["Q2_K", "F16"], "F16"),
        (["Q4_0", "IQ4_XS", "Q4_K_S"], "Q4_K_S"),
        (["UD-Q4_K_XL", "Q4_0"], "UD-Q4_K_XL"),
        (["UD-Q4_K_M", "Q4_K_M"], "Q4_K_M"),
        (["Q4_0_4_4", "Q2_K"], "Q2_K"),
    ],
)
def test_the_order_of_preference_where_all_fit(there, taken):
    assert choose(choices(**dict.fromkeys(there, 1)), "", 0).quant == taken


def test_every_known_quant_is_ranked_once():
    assert len(set(PREFERENCE)) == len(PREFERENCE)
    assert all(quant_of(f"m-{quant}.gguf") == quant for quant in PREFERENCE)


def test_nothing_is_said_of_a_file_alone_that_fits():
    assert choose(choices(Q4_K_M=1), "", 16 * GB).said == ""


def test_the_plainest_of_several_files_of_one_quant_is_taken():
    found = group([("sub/m-Q4_0.gguf", 1), ("m-long-Q4_0.gguf", 1), ("m-Q4_0.gguf", 1)])
    assert choose(found, "q4_0", 0).choice.file == "m-Q4_0.gguf"


@pytest.mark.parametrize(
    "wanted",
    ["Q8_0", "q8_0", "a/m-Q8_0.gguf", "a--m-Q8_0.gguf", "A--M-q8_0.GGUF", "m-Q8_0.gguf"],
)
def test_a_file_is_wanted_by_quant_path_safe_path_or_name(wanted):
    found = group([("a/m-Q8_0.gguf", 2), ("m-Q4_K_M.gguf", 1)])
    chosen = choose(found, wanted, 1)
    assert (chosen.choice.file, chosen.quant, chosen.said) == ("a/m-Q8_0.gguf", "Q8_0", "")


def test_any_part_names_its_set():
    found = group((f"m-0000{n}-of-00002.gguf", 1) for n in (1, 2))
    assert len(choose(found, "m-00002-of-00002.gguf", 0).choice.parts) == 2


def test_a_quant_without_ud_finds_the_ud_file_and_fp16_is_f16():
    assert choose(choices(**{"UD-Q4_K_XL": 1}), "q4_k_xl", 0).quant == "UD-Q4_K_XL"
    assert choose(choices(F16=1), "fp16", 0).quant == "F16"


def test_a_basename_that_two_files_have_names_none():
    found = group([("a/model.gguf", 1), ("b/model.gguf", 1)])
    with pytest.raises(ModelNotFound) as caught:
        choose(found, "model.gguf", 0)
    assert caught.value.hint == "There is: a/model.gguf, b/model.gguf."


def test_an_unknown_quant_lists_what_there_is():
    with pytest.raises(ModelNotFound) as caught:
        choose(choices(Q4_K_M=1, Q8_0=2), "Q9_9", 0)
    assert caught.value.message == "model 'Q9_9' not found"
    assert caught.value.hint == "There is: Q4_K_M, Q8_0."


def test_a_long_list_is_cut_and_an_empty_one_said():
    many = group((f"model{n:02}.gguf", 1) for n in range(40))
    with pytest.raises(ModelNotFound) as caught:
        choose(many, "x", 0)
    assert caught.value.hint.endswith("model23.gguf, ....")
    with pytest.raises(ModelNotFound) as caught:
        choose([], "", 0)
    assert caught.value.hint == "There is no GGUF model in it."


@given(
    st.lists(st.tuples(st.sampled_from(PREFERENCE), st.integers(0, 10**11)), min_size=1, max_size=12),
    st.integers(0, 10**11),
)
def test_the_choice_is_always_one_of_them_and_fits_if_any_does(pairs, room):
    found = [Choice(f"{n}-{q}.gguf", size, (f"{n}-{q}.gguf",)) for n, (q, size) in enumerate(pairs)]
    chosen = choose(found, "", room)
    assert chosen.choice in found
    if room and any(c.size * 1.15 + 2**29 <= room for c in found):
        assert chosen.choice.size * 1.15 + 2**29 <= room
    assert choose(list(reversed(found)), "", room).choice.size == chosen.choice.size
