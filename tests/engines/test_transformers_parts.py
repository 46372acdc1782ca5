"""Parts of the worker for safetensors models that need PyTorch, in the engine's own environment."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from inhouse.engines import transformers
from support import safetensors_engine

pytestmark = [pytest.mark.model, pytest.mark.timeout(900)]

_BEGIN = """
import importlib.util, json, sys, torch
spec = importlib.util.spec_from_file_location("worker", sys.argv[1] + "/transformers.py")
worker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)
worker._beside()
draw, generate, model, options = (importlib.import_module(f"{worker.ALONE}.transformers_{name}")
    for name in ("draw", "generate", "model", "asked"))
def loaded():
    return model.Loaded.load(model.Order("x", sys.argv[2], "m", prompts=2, context_length=256))
def tell(**values):
    print(json.dumps(values))
"""


def run(program: str) -> dict[str, Any]:
    """What a program in the engine's environment tells; the worker's modules are at hand."""
    words = [safetensors_engine.python(), "-I", "-c", _BEGIN + program]
    folder, weights = str(Path(transformers.WORKER).parent), safetensors_engine.talker().weights
    done = subprocess.run([*words, folder, weights], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_what_was_computed_in_part_is_not_kept_for_other_prompts() -> None:
    told = run("""
here = loaded()
ids = here.encode("bat bed cop din fun gal her kos " * 6)
def answer(ids, broken=None):
    job, done = generate.Generation(here, ids, options.Options(temperature=0.0, most=6)), False
    layer, turns = here.model.model.layers[1], 0
    whole = layer.forward
    try:
        while not done:
            turns += 1
            if turns == broken:
                def fail(*_, **__): raise RuntimeError("out of memory")
                layer.forward = fail
            done = job.turn()[1]
    except RuntimeError:
        pass
    layer.forward = whole
    job.end()
    return job
broken = answer(ids, broken=4)
kept = len(here.kept)
tell(written=broken.written, kept=kept, fresh=answer(ids).cached, then=answer(ids).cached > 0)
""")
    assert told == {"written": 3, "kept": 0, "fresh": 0, "then": True}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_model_that_computes_no_numbers_says_nothing(temperature: float) -> None:
    told = run(f"""
try:
    draw.Draw(options.Options(temperature={temperature}), [1]).token(torch.full((9,), float("nan")))
except RuntimeError as error:
    tell(error=str(error))
""")
    assert told == {"error": "the model computed no numbers"}


def test_texts_are_read_one_at_a_time_for_a_cut_is_the_tokenizers_own_state() -> None:
    told = run("""
here = loaded()
real, seen = here.tokenizer, []
class Watched:
    def __call__(self, *args, **more):
        seen.append(here._reading.locked())
        return real(*args, **more)
here.tokenizer = Watched()
text = "bat bed " * 40
tell(whole=len(here.encode(text)) > 10, cut=len(here.encode(text, most=10)), seen=seen)
""")
    assert told == {"whole": True, "cut": 10, "seen": [True, True]}


def test_a_template_of_a_request_is_not_rendered() -> None:
    told = run("""
try:
    loaded().render([{"role": "user", "content": "a"}], goes_on=False, args={"chat_template": "x"})
except ValueError as error:
    tell(error=str(error))
""")
    assert "model's own" in told["error"]
