"""PyTorch on the CPU as an engine of the comparison; speaks the protocol of engine.ts on stdin and stdout."""

import json
import os
import sys
import time

import numpy
import torch
from torch.nn import functional

GOLDEN = 0x9E3779B9


def mix(index):
    """32 well mixed bits of each number: `mix` of cases.ts."""
    bits = index.astype(numpy.uint32)
    bits = (bits ^ (bits >> numpy.uint32(16))) * numpy.uint32(0x7FEB352D)
    bits = (bits ^ (bits >> numpy.uint32(15))) * numpy.uint32(0x846CA68B)
    return bits ^ (bits >> numpy.uint32(16))


def noise(shape, scale, seed):
    """The numbers of input number `seed` of a case: `noise` of cases.ts."""
    start = numpy.uint32((seed + 1) * GOLDEN & 0xFFFFFFFF)
    bits = mix(numpy.arange(int(numpy.prod(shape)), dtype=numpy.uint32) + start)
    return torch.from_numpy(((bits / 2.0**31 - 1) * scale).astype(numpy.float32).reshape(shape))


def sample(values, count=256):
    """Elements at scattered places: `sample` of cases.ts."""
    places = mix(numpy.arange(count, dtype=numpy.uint32) + numpy.uint32(GOLDEN)) / 2.0**32
    return values.reshape(-1)[torch.from_numpy((places * values.numel()).astype(numpy.int64))].tolist()


def convolution(x, a):
    image = x["input"].permute(2, 0, 1)[None].contiguous()
    weight = x["weight"].permute(3, 2, 0, 1).contiguous()
    run = lambda: functional.relu(functional.conv2d(image, weight, x["bias"], a["stride"], a["padding"]))
    return run, lambda output: output[0].permute(1, 2, 0)


def attend(q, k, v):
    return torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, -1) @ v


def heads_of(qkv, a):
    return qkv.reshape(a["tokens"], 3, a["heads"], -1).permute(1, 2, 0, 3)


def attention(x, a):
    q, k, v = heads_of(x["qkv"], a).contiguous()
    return lambda: attend(q, k, v), lambda output: output.permute(1, 0, 2)


def layer_norm(x, _):
    return lambda: functional.layer_norm(x["input"], x["weight"].shape, x["weight"], x["bias"]), lambda output: output


def softmax(x, _):
    return lambda: torch.softmax(x["input"], -1), lambda output: output


def average_pool(x, a):
    image = x["input"].permute(2, 0, 1)[None].contiguous()
    run = lambda: functional.avg_pool2d(image, a["window"], 1, a["window"] // 2, count_include_pad=False)
    return run, lambda output: output[0].permute(1, 2, 0)


def vit_block(x, a):
    norm = lambda value, name: functional.layer_norm(value, value.shape[-1:], x[f"{name}.weight"], x[f"{name}.bias"])
    linear = lambda value, name: torch.addmm(x[f"{name}.bias"], value, x[f"{name}.weight"])

    def run():
        q, k, v = heads_of(linear(norm(x["input"], "norm1"), "qkv"), a)
        attended = x["input"] + linear(attend(q, k, v).transpose(0, 1).reshape(a["tokens"], a["width"]), "out")
        hidden = linear(norm(attended, "norm2"), "fc1")
        return attended + linear(hidden * torch.sigmoid(1.702 * hidden), "fc2")

    return run, lambda output: output


def mlp_gradient(x, _):
    parameters = [x[name].requires_grad_() for name in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")]

    def run():
        with torch.enable_grad():
            first = functional.leaky_relu(torch.addmm(parameters[1], x["input"], parameters[0]), 0.01)
            second = functional.leaky_relu(torch.addmm(parameters[3], first, parameters[2]), 0.01)
            return torch.autograd.grad(second, parameters, x["gradient"])

    return run, lambda output: output


def product(x, _):
    return lambda: x["a"] @ x["b"], lambda output: output


CASES = {
    "gemm": product,
    "gemm_mlp": product,
    "attention": attention,
    "layer_norm": layer_norm,
    "softmax": softmax,
    "convolution_3x3": convolution,
    "convolution_7x7": convolution,
    "average_pool": average_pool,
    "vit_block": vit_block,
    "mlp_gradient": mlp_gradient,
}


def answer(**reply):
    print(json.dumps(reply), flush=True)


def main():
    torch.set_num_threads(os.cpu_count())
    torch.set_grad_enabled(False)
    answer(version=torch.__version__)
    run = repeats = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["ask"] == "prepare":
                case = request["case"]
                inputs = {name: noise(given["shape"], given["scale"], seed) for seed, (name, given) in enumerate(case["inputs"].items())}
                run, layout = CASES[case["name"]](inputs, case["attributes"])
                repeats = request["repeats"]
                outputs = run()
                outputs = outputs if isinstance(outputs, tuple) else (outputs,)
                answer(ways={"torch": {"samples": [sample(layout(output)) for output in outputs], "milliseconds": 0}})
            elif request["ask"] == "run":
                start, cpu = time.perf_counter(), time.process_time()
                for _ in range(repeats):
                    run()
                answer(milliseconds=1000 * (time.perf_counter() - start), cpuMilliseconds=1000 * (time.process_time() - cpu))
            else:
                answer()
        except Exception as error:  # Whatever it is, the runner reports it and goes on.
            answer(error=str(error).splitlines()[0])


main()
