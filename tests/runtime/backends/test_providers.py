from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pool_export.runtime.backends.providers import PROVIDERS, available, load_onnxruntime, open_session
from pool_export.runtime.errors import MissingExtraError, ProviderError

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class InvalidProtobuf(Exception):
    pass


def test_a_device_the_wheel_lacks_is_an_error_with_the_install_command(onnxruntime):
    onnxruntime(["AzureExecutionProvider", CPU])
    with pytest.raises(ProviderError) as caught:
        available("cuda")
    assert str(caught.value) == (
        "device 'cuda' needs CUDAExecutionProvider, this onnxruntime has AzureExecutionProvider, "
        "CPUExecutionProvider; install it: pip uninstall -y onnxruntime && pip install 'pool-export[gpu]'"
    )


def test_the_installed_onnxruntime_refuses_cuda_where_it_has_none(tiny_bundle):
    import onnxruntime

    from pool_export.runtime.llm import LLM

    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(ProviderError, match=r"pip install 'pool-export\[gpu\]'"):
        LLM(tiny_bundle("bert"), device="cuda")


def test_a_session_opens_on_the_provider_with_its_options(onnxruntime):
    opened = onnxruntime([CUDA, CPU])
    options = object()
    assert open_session("m.onnx", "cuda", options).asked == CUDA
    assert opened == [
        {
            "path": "m.onnx",
            "options": options,
            "providers": [(CUDA, PROVIDERS["cuda"].options)],
            "disabled_optimizers": [],
            "enable_fallback": 0,
        }
    ]


def test_fp32_on_cuda_is_fp32():
    assert PROVIDERS["cuda"].options["use_tf32"] == "0"


def test_a_provider_that_silently_falls_back_is_an_error(onnxruntime):
    onnxruntime([CUDA, CPU], active={CUDA: CPU})
    with pytest.raises(ProviderError) as caught:
        open_session("m.onnx", "cuda", None)
    assert str(caught.value) == (
        "device 'cuda': CUDAExecutionProvider did not load (active: CPUExecutionProvider); "
        "check the driver and the CUDA/cuDNN libraries"
    )


def test_a_provider_that_raises_is_an_error_and_no_damaged_file(onnxruntime):
    onnxruntime([CUDA, CPU], fails={CUDA: RuntimeError("CUDA failure 100: no CUDA-capable device\n at file.cc:12")})
    with pytest.raises(ProviderError) as caught:
        open_session("m.onnx", "cuda", None)
    assert str(caught.value) == "device 'cuda': CUDAExecutionProvider failed: CUDA failure 100: no CUDA-capable device"


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_a_damaged_file_is_not_blamed_on_the_provider(onnxruntime, device: str):
    onnxruntime([CUDA, CPU], fails={CUDA: InvalidProtobuf("Protobuf parsing failed."), CPU: InvalidProtobuf("x")})
    with pytest.raises(InvalidProtobuf):
        open_session("m.onnx", device, None)


def test_the_search_for_cuda_libraries_prints_nothing_to_stdout(onnxruntime, capsys):
    """stdout belongs to the caller's data: `pool-export embed --json | jq`."""
    onnxruntime([CUDA, CPU])
    open_session("m.onnx", "cuda", None)
    assert capsys.readouterr().out == ""


def test_without_onnxruntime_the_message_is_the_install_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError) as caught:
        load_onnxruntime()
    assert str(caught.value) == "onnxruntime is not installed; run: pip install 'pool-export[cpu]'"
    assert (caught.value.package, caught.value.extra) == ("onnxruntime", "cpu")
    assert isinstance(caught.value, ImportError)


def test_onnxruntime_keeps_no_device_id_and_sends_nothing(tmp_path: Path):
    # Both files of its telemetry are made with the first session options; a CI variable would hide that.
    script = "from pool_export.runtime.backends.providers import load_onnxruntime as load; load().SessionOptions()"
    silent = {"CI", "GITHUB_ACTIONS", "TF_BUILD", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "XDG_CACHE_HOME"}
    surroundings = {name: value for name, value in os.environ.items() if name not in silent}
    subprocess.run([sys.executable, "-c", script], check=True, env={**surroundings, "HOME": str(tmp_path)})
    assert [str(path) for path in tmp_path.rglob("*")] == []
