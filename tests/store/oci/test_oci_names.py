"""Source texts of registries."""

from __future__ import annotations

import pytest

from inhouse.core.errors import InvalidName
from inhouse.store.oci import names

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "text, host, repository, tag, name, canonical",
    [
        ("ollama:smollm2", "registry.ollama.ai", "library/smollm2", "latest",
         "registry.ollama.ai/library/smollm2:latest", "ollama:smollm2:latest"),
        ("ollama:qwen2.5-coder:0.5b", "registry.ollama.ai", "library/qwen2.5-coder", "0.5b",
         "registry.ollama.ai/library/qwen2.5-coder:0.5b", "ollama:qwen2.5-coder:0.5b"),
        ("OLLAMA:me/Mine:v1", "registry.ollama.ai", "me/Mine", "v1",
         "registry.ollama.ai/me/Mine:v1", "ollama:me/Mine:v1"),
        ("registry.ollama.ai/library/a:b", "registry.ollama.ai", "library/a", "b",
         "registry.ollama.ai/library/a:b", "ollama:a:b"),
        ("ollama.com/library/a", "registry.ollama.ai", "library/a", "latest",
         "registry.ollama.ai/library/a:latest", "ollama:a:latest"),
        ("https://ollama.com/library/a:b", "registry.ollama.ai", "library/a", "b",
         "registry.ollama.ai/library/a:b", "ollama:a:b"),
        ("registry.example.com/team/sub/m:1", "registry.example.com", "team/sub/m", "1",
         "registry.example.com/team/sub/m:1", "registry.example.com/team/sub/m:1"),
        ("Localhost:5000/ns/m", "localhost:5000", "ns/m", "latest",
         "localhost:5000/ns/m:latest", "localhost:5000/ns/m:latest"),
        ("ollama:localhost:5000/m:1", "localhost:5000", "m", "1",
         "localhost:5000/library/m:1", "ollama:localhost:5000/m:1"),
        ("ollama:hf.co/org/repo:Q4_K_M", "hf.co", "org/repo", "Q4_K_M",
         "hf.co/org/repo:Q4_K_M", "ollama:hf.co/org/repo:Q4_K_M"),
        ("oci://ghcr.io/org/deep/m:2", "ghcr.io", "org/deep/m", "2",
         "ghcr.io/org/deep/m:2", "oci://ghcr.io/org/deep/m:2"),
        ("oci://localhost:5000/m", "localhost:5000", "m", "latest",
         "localhost:5000/library/m:latest", "oci://localhost:5000/m:latest"),
        ("docker://ai/smollm2:360M-Q4_K_M", "docker.io", "ai/smollm2", "360M-Q4_K_M",
         "docker.io/ai/smollm2:360M-Q4_K_M", "oci://docker.io/ai/smollm2:360M-Q4_K_M"),
        ("docker://smollm2", "docker.io", "library/smollm2", "latest",
         "docker.io/library/smollm2:latest", "oci://docker.io/library/smollm2:latest"),
        ("oci://index.docker.io/ai/m:1", "docker.io", "ai/m", "1", "docker.io/ai/m:1", "oci://docker.io/ai/m:1"),
        ("docker://ghcr.io/a/b", "ghcr.io", "a/b", "latest", "ghcr.io/a/b:latest", "oci://ghcr.io/a/b:latest"),
    ],
)  # fmt: skip
def test_a_text_is_read_and_printed_back(text, host, repository, tag, name, canonical):
    place = names.parse(text)
    assert (place.host, place.repository, place.tag) == (host, repository, tag)
    assert str(place.name) == name
    assert place.text == canonical
    assert names.parse(canonical) == place


def test_a_digest_pins_the_manifest_and_gives_the_tag_of_the_name():
    place = names.parse(f"oci://ghcr.io/org/m@sha256:{HEX}")
    assert place.reference == f"sha256:{HEX}"
    assert place.name.tag == "sha256-0123456789ab"
    assert place.tag == ""
    assert names.parse(place.text) == place


def test_a_digest_after_a_tag_pins_it_and_keeps_the_name():
    place = names.parse(f"ollama:smollm2:135m@sha256:{HEX}")
    assert (place.tag, place.digest, place.name.tag) == ("135m", f"sha256:{HEX}", "135m")
    assert place.text == f"ollama:smollm2:135m@sha256:{HEX}"
    assert names.parse(place.text) == place
    assert names.parse("ollama:smollm2:135m").pinned(f"sha256:{HEX}") == place


@pytest.mark.parametrize(
    "text",
    [
        "ollama:",
        "ollama:/x",
        "ollama:../x",
        "ollama:a/../b",
        "ollama:a:",
        "ollama:a:b:c",
        "ollama:a b",
        "ollama:a@",
        "ollama:a@sha256:../../x",
        f"ollama:a@sha256:{HEX.upper()}",
        f"ollama:a@sha256:{HEX[:-1]}",
        f"oci://ghcr.io/a@sha512:{HEX}",
        "oci://name-without-host",
        "oci://ai/smollm2",
        "oci://ghcr.io/",
        "oci://user@ghcr.io/a/b",
        "oci://[::1]:5000/a/b",
        "docker://",
        "ghcr.io//b",
        "ghcr.io/a/b?x=1",
        "ghcr.io/a/%2e%2e/b",
        "ghcr.io/a/b\0",
        "ollama:" + "a" * 600,
    ],
)
def test_what_is_no_name_is_refused(text):
    with pytest.raises(InvalidName) as caught:
        names.parse(text)
    assert len(caught.value.message) < 140
    assert "ollama:name:tag" in caught.value.hint


@pytest.mark.parametrize(
    "text, expected",
    [
        ("ollama:a", True),
        ("oci://a.b/c", True),
        ("docker://a", True),
        ("ghcr.io/a/b", True),
        ("localhost:1/a/b", True),
        ("hf.co/a/b", False),
        ("pypi:x", False),
        ("https://a.b/c/d.gguf", False),
        ("smollm2", False),
        ("me/model", False),
        ("", False),
    ],
)
def test_texts_of_registries_are_told_from_others(text, expected):
    assert names.is_text(text) is expected
