"""Networks that read nothing but pictures become ONNX files."""

import warnings

import onnx
import torch
from torch import nn

from services.contracts.card import WindowSpec


def export_pixels(network: nn.Module, window: WindowSpec) -> bytes:
    """Trace a network with any number of windows; the same weights give the same bytes.

    Args:
        network: Reads uint8 (N, T, S, S, 3), answers (N, K).
        window: T and S.

    Returns:
        An ONNX file with input `rgb` and output `logits`, weights inside and nothing of this machine.
    """
    rgb_NTHWC = torch.zeros(2, window.frames, window.size_px, window.size_px, 3, dtype=torch.uint8)
    windows = torch.export.Dim("windows", min=1, max=4096)
    with warnings.catch_warnings():
        # The exporter warns about its own parts.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.eval(),
            (rgb_NTHWC,),
            dynamo=True,
            input_names=["rgb"],
            output_names=["logits"],
            dynamic_shapes=({0: windows},),
            opset_version=20,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    del model.metadata_props[:]
    for graph in (model.graph, *model.functions):
        del graph.metadata_props[:]
        for noted in (*graph.node, *graph.value_info):
            del noted.metadata_props[:]
            noted.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString(deterministic=True)
    return content
