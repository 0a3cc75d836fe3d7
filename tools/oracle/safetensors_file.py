"""Reads and writes safetensors files, with nothing but torch and the standard library.

The layout is that of the format's specification: eight bytes with the length of the header, little-endian;
the header, JSON that maps a tensor's name to its dtype, shape and byte range; the bytes of all tensors.
"""

import json
import struct

import torch

_names = {
    torch.float64: 'F64', torch.float32: 'F32', torch.float16: 'F16', torch.bfloat16: 'BF16',
    torch.int64: 'I64', torch.int32: 'I32', torch.int16: 'I16', torch.uint8: 'U8',
}
_dtypes = {name: dtype for dtype, name in _names.items()}


def write_safetensors(path, tensors, metadata=None):
    """Writes a dict of tensors. The widest dtypes come first, then names in order, so that every tensor is aligned.

    :param metadata: dict of strings, written under `__metadata__`
    """
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header = {}
    if metadata is not None:
        header['__metadata__'] = metadata
    offset = 0
    for name in order:
        tensor = tensors[name]
        size = tensor.numel() * tensor.element_size()
        header[name] = {'dtype': _names[tensor.dtype], 'shape': list(tensor.shape), 'data_offsets': [offset, offset + size]}
        offset += size
    encoded = json.dumps(header, separators=(',', ':')).encode()
    encoded += b' ' * (-len(encoded) % 8)
    with open(path, 'wb') as file:
        file.write(struct.pack('<Q', len(encoded)))
        file.write(encoded)
        for name in order:
            # Through int8, because numpy has no bfloat16.
            file.write(tensors[name].detach().contiguous().reshape(-1).view(torch.int8).numpy().tobytes())


def read_safetensors(path):
    """Reads all tensors of a file.

    :return: the dict of tensors and the metadata (an empty dict if there is none)
    """
    with open(path, 'rb') as file:
        (length,) = struct.unpack('<Q', file.read(8))
        header = json.loads(file.read(length))
        data = bytearray(file.read())
    metadata = header.pop('__metadata__', {})
    tensors = {}
    for name, entry in header.items():
        begin, end = entry['data_offsets']
        dtype = _dtypes[entry['dtype']]
        if begin == end:
            tensors[name] = torch.empty(entry['shape'], dtype=dtype)
        else:
            count = (end - begin) // torch.empty((), dtype=dtype).element_size()
            tensors[name] = torch.frombuffer(data, dtype=dtype, count=count, offset=begin).reshape(entry['shape'])
    return tensors, metadata
