"""Messages of the Open Inference Protocol (KServe v2) over gRPC, built from its published fields."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

SERVICE = "inference.GRPCInferenceService"
_PARAMETERS = "parameters=4 map"
_TENSOR = (
    "name=1 string",
    "datatype=2 string",
    "shape=3 int64*",
    _PARAMETERS,
    "contents=5 InferTensorContents",
)
_HEAD = ("model_name=1 string", "model_version=2 string", "id=3 string", _PARAMETERS)
_FIELDS: dict[str, tuple[str, ...]] = {
    "ServerLiveRequest": (),
    "ServerLiveResponse": ("live=1 bool",),
    "ServerReadyRequest": (),
    "ServerReadyResponse": ("ready=1 bool",),
    "ModelReadyRequest": ("name=1 string", "version=2 string"),
    "ModelReadyResponse": ("ready=1 bool",),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": ("name=1 string", "version=2 string", "extensions=3 string*"),
    "ModelMetadataRequest": ("name=1 string", "version=2 string"),
    "ModelMetadataResponse": (
        "name=1 string",
        "versions=2 string*",
        "platform=3 string",
        "inputs=4 TensorMetadata*",
        "outputs=5 TensorMetadata*",
    ),
    "ModelMetadataResponse.TensorMetadata": ("name=1 string", "datatype=2 string", "shape=3 int64*"),
    "InferParameter": (
        "bool_param=1 bool |",
        "int64_param=2 int64 |",
        "string_param=3 string |",
        "double_param=4 double |",
        "uint64_param=5 uint64 |",
    ),
    "InferTensorContents": (
        "bool_contents=1 bool*",
        "int_contents=2 int32*",
        "int64_contents=3 int64*",
        "uint_contents=4 uint32*",
        "uint64_contents=5 uint64*",
        "fp32_contents=6 float*",
        "fp64_contents=7 double*",
        "bytes_contents=8 bytes*",
    ),
    "ModelInferRequest": (
        *_HEAD,
        "inputs=5 InferInputTensor*",
        "outputs=6 InferRequestedOutputTensor*",
        "raw_input_contents=7 bytes*",
    ),
    "ModelInferRequest.InferInputTensor": _TENSOR,
    "ModelInferRequest.InferRequestedOutputTensor": ("name=1 string", "parameters=2 map"),
    "ModelInferResponse": (*_HEAD, "outputs=5 InferOutputTensor*", "raw_output_contents=6 bytes*"),
    "ModelInferResponse.InferOutputTensor": _TENSOR,
}
"""Message -> its fields: name, number and type; `*` repeats it, `|` makes it one of several, and `map` is from names to
`InferParameter`."""


def _messages() -> dict[str, Any]:
    """The classes of the messages, in a pool of their own beside those of clients in the same process."""
    file = FileDescriptorProto(name="labelwise/inference.proto", package="inference", syntax="proto3")
    messages: dict[str, DescriptorProto] = {}
    for path, fields in _FIELDS.items():
        outer, _, name = path.rpartition(".")
        message = (messages[outer].nested_type if outer else file.message_type).add(name=name)
        messages[path] = message
        for text in fields:
            _add_field(message, path, text)
    pool = DescriptorPool()
    pool.Add(file)
    return {path: GetMessageClass(pool.FindMessageTypeByName(f"inference.{path}")) for path in _FIELDS}


def _add_field(message: DescriptorProto, path: str, text: str) -> None:
    """Adds the field that a text of `_FIELDS` describes."""
    head, kind, *choice = text.split()
    name, _, number = head.partition("=")
    field = message.field.add(name=name, number=int(number))
    field.label = field.LABEL_REPEATED if kind == "map" or kind.endswith("*") else field.LABEL_OPTIONAL
    kind = kind.rstrip("*")
    if choice:
        field.oneof_index = 0
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
    if kind == "map":
        entry = message.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        _add_field(entry, "", "key=1 string")
        _add_field(entry, "", "value=2 InferParameter")
        kind = f"{path}.{entry.name}"
    type_name = f"TYPE_{kind.upper()}"
    if type_name in FieldDescriptorProto.Type.keys():  # noqa: SIM118 - an enumeration, which is no mapping
        field.type = FieldDescriptorProto.Type.Value(type_name)
        return
    field.type = field.TYPE_MESSAGE
    nested = f"{path}.{kind}"
    field.type_name = f".inference.{nested if nested in _FIELDS else kind}"


MESSAGES = _messages()
