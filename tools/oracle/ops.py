"""Writes test/golden/ops.safetensors: single operations and their gradients, computed by PyTorch in float64 and rounded to float32.

    /usr/bin/python3 tools/oracle/ops.py

Names are `<case>.<tensor>`, layouts PyTorch's. A case's tensors are its inputs, its `output` (or `loss`), `output_gradient` (random: what
backward starts from; absent where the output is a loss), and `<input>_gradient`. Numbers that are no tensors are in the metadata, as
JSON under `parameters`: `{"<case>": {"heads": 3, ...}}`.
"""

import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F

import mfp_clip
from safetensors_file import write_safetensors
from weights import Normal

FILE = Path(__file__).resolve().parents[2] / 'test' / 'golden' / 'ops.safetensors'
normal = Normal(2026)
tensors, parameters = {}, {}


def uniform(shape):
    """Float32 values in (0, 1)."""
    return torch.special.ndtr(normal(shape, 1.0))


def case(name, inputs, function, constants=None, **numbers):
    """Runs one case and keeps its tensors.

    :param inputs: float32 tensors, by name, that get a gradient
    :param function: takes inputs and constants by name (float64) and returns the output, or a dict with more tensors and `output` or `loss`
    :param constants: tensors, by name, that get none
    :param numbers: what the test needs to know besides
    """
    constants = constants or {}
    leaves = {key: value.double().requires_grad_() for key, value in inputs.items()}
    fixed = {key: value.double() if value.is_floating_point() else value for key, value in constants.items()}
    results = function(**leaves, **fixed)
    if not isinstance(results, dict):
        results = {'loss' if results.dim() == 0 else 'output': results}
    saved = {**inputs, **constants, **{key: value.detach() for key, value in results.items()}}
    if 'output' in results:
        saved['output_gradient'] = normal(results['output'].shape, 1.0)
        results['output'].backward(saved['output_gradient'].double())
    else:
        results['loss'].backward()
    saved.update({f'{key}_gradient': leaf.grad for key, leaf in leaves.items()})
    for key, value in saved.items():
        tensors[f'{name}.{key}'] = (value.float() if value.is_floating_point() else value.int()).clone()
    if numbers:
        parameters[name] = numbers


def attention(heads, causal):
    def function(qkv):
        q, k, v = qkv.chunk(3, dim=-1)
        batch, length, width = q.shape
        split = [x.reshape(batch, length, heads, width // heads).transpose(1, 2) for x in (q, k)]
        logits = split[0] @ split[1].transpose(-1, -2) / math.sqrt(width // heads)
        if causal:
            logits = logits.masked_fill(torch.ones(length, length, dtype=torch.bool).triu(1), -math.inf)
        return {'output': mfp_clip.attention(q, k, v, heads, causal), 'log_sum_exp': logits.logsumexp(-1)}
    return function


case('attention.full', {'qkv': normal((2, 19, 3 * 48), 1.5)}, attention(3, False), heads=3)
case('attention.causal', {'qkv': normal((1, 23, 3 * 48), 1.5)}, attention(2, True), heads=2)
case('layer_norm', {'input': normal((3, 5, 37), 2.0, 0.7), 'weight': normal((37,), 0.3, 1.0), 'bias': normal((37,), 0.3)},
     lambda input, weight, bias: F.layer_norm(input, (37,), weight, bias, 1e-5), epsilon=1e-5)
case('linear', {'input': normal((7, 13), 1.0), 'weight': normal((11, 13), 0.3), 'bias': normal((11,), 0.3)}, F.linear)
case('quick_gelu', {'input': normal((61,), 3.0)}, lambda input: mfp_clip.quick_gelu(input))
case('leaky_relu', {'input': normal((61,), 3.0)}, lambda input: F.leaky_relu(input, 0.01), slope=0.01)
case('embedding', {'table': normal((9, 6), 1.0)}, lambda table, ids: F.embedding(ids, table), {'ids': torch.tensor([[0, 3, 3, 8, 1], [8, 8, 2, 0, 3]])})
case('patch_embedding', {'image': normal((2, 3, 10, 15), 1.0), 'weight': normal((7, 3, 5, 5), 0.15)},
     lambda image, weight: F.conv2d(image, weight, stride=5).flatten(2).transpose(1, 2), patch=5)
for old, new in ((3, 5), (4, 7), (7, 4), (2, 9)):
    case(f'resize_position.{old}to{new}', {'position': normal((1 + old * old, 6), 1.0)},
         lambda position: mfp_clip.resize_position(position, new), **{'from': old, 'to': new})

# Convolutions with BatchNorm in evaluation mode, as a frozen ResNet has them.
for name, (width, output, size, stride, padding, height) in {
    'stem': (3, 5, 7, 2, 3, 13), 'three': (4, 6, 3, 1, 1, 7), 'three_strided': (4, 6, 3, 2, 1, 9), 'one': (6, 5, 1, 1, 0, 7), 'one_strided': (6, 5, 1, 2, 0, 7),
}.items():
    def convolution(input, weight, bn_weight, bn_bias, running_mean, running_var):
        h = F.conv2d(input, weight, stride=stride, padding=padding)
        h = F.batch_norm(h, running_mean, running_var, bn_weight, bn_bias, training=False, eps=1e-5)
        return {'normalised': h, 'output': F.relu(h)}

    case(f'convolution.{name}',
         {'input': normal((2, width, height, height - 2), 1.0), 'weight': normal((output, width, size, size), (2 / width) ** 0.5 / size),
          'bn_weight': normal((output,), 0.3, 1.0), 'bn_bias': normal((output,), 0.3)},
         convolution, {'running_mean': normal((output,), 0.3), 'running_var': torch.exp(normal((output,), 0.4))},
         stride=stride, padding=padding, epsilon=1e-5)


def batch_norm(input, weight, bias):
    mean, variance = input.detach().mean((0, 2, 3)), input.detach().var((0, 2, 3), unbiased=False)
    running_mean, running_var = torch.zeros(5, dtype=torch.float64), torch.ones(5, dtype=torch.float64)
    output = F.batch_norm(input, running_mean, running_var, weight, bias, training=True, momentum=0.1, eps=1e-5)
    return {'output': output, 'mean': mean, 'variance': variance, 'running_mean_after': running_mean, 'running_var_after': running_var}


case('batch_norm.training', {'input': normal((3, 5, 7, 6), 1.5, 0.4), 'weight': normal((5,), 0.3, 1.0), 'bias': normal((5,), 0.3)}, batch_norm,
     momentum=0.1, epsilon=1e-5)
case('max_pool', {'input': normal((2, 5, 11, 8), 1.0)}, lambda input: F.max_pool2d(input, 3, 2, 1), size=3, stride=2, padding=1)
case('global_average_pool', {'input': normal((2, 5, 7, 6), 1.0)}, lambda input: input.mean((2, 3)))

for size in (1, 3, 5):
    case(f'neighbourhood_pool.{size}', {'tokens': normal((2, 36, 5), 1.0)}, lambda tokens: mfp_clip.neighbourhood_mean(tokens, size), size=size, rows=6, columns=6)
for batch in (1, 2):
    case(f'cosine_softmax.{batch}', {'patches': normal((2, 9, 11), 1.0), 'text': normal((batch, 2, 11), 1.0)},
         lambda patches, text: mfp_clip.abnormal_probability(patches, text, 7.0), temperature=7.0)
for side in (23, 24):
    case(f'upsample_mean.{side}', {'maps': uniform((2, 3, 16))}, lambda maps: mfp_clip.upsample_mean(maps, side, side), rows=4, columns=4, height=side, width=side)
case('mask_multiply', {'image': normal((2, 3, 5, 7), 1.0), 'mask': uniform((2, 5, 7))}, lambda image, mask: image * mask[:, None])
case('maximum', {'input': uniform((3, 5, 7))}, lambda input: input.flatten(1).max(1).values)

# Losses: probabilities in between, and then all pairs of 0 or 1 with 0 or 1.
inner = uniform((2, 7, 11))
mask = (uniform((2, 7, 11)) > 0.7).float()
edges, edge_mask = torch.tensor([[[0.0, 1, 0, 1, 0.5, 0.25]]]), torch.tensor([[[0.0, 1, 1, 0, 1, 0]]])
for suffix, (p, m) in {'inner': (inner, mask), 'edges': (edges, edge_mask), 'normal': (inner, torch.zeros_like(mask))}.items():
    for gamma in (2, 1.5):
        case(f'focal_loss.gamma{gamma}.{suffix}', {'probability': p}, lambda probability, mask: mfp_clip.focal_loss(probability, mask, gamma), {'mask': m}, gamma=gamma)
    case(f'dice_loss.{suffix}', {'probability': p}, mfp_clip.dice_loss, {'mask': m})
case('binary_cross_entropy.inner', {'score': uniform((5,))}, lambda score, target: F.binary_cross_entropy(score, target), {'target': torch.tensor([0.0, 1, 1, 0, 1])})
case('binary_cross_entropy.edges', {'score': torch.tensor([0.0, 1, 0, 1])}, lambda score, target: F.binary_cross_entropy(score, target), {'target': torch.tensor([0.0, 1, 1, 0])})
case('cross_entropy', {'logits': normal((5, 13), 3.0)}, lambda logits, target: F.cross_entropy(logits, target), {'target': torch.tensor([3, 0, 12, 7, 7])})
case('contrastive_loss', {'image': normal((6, 10), 1.0), 'text': normal((6, 10), 1.0), 'logit_scale': torch.tensor(1.7)}, mfp_clip.contrastive_loss)


def contrastive_of_normalised(image, text, scale):
    logits = scale * image @ text.T
    target = torch.arange(image.shape[0])
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


# The same, but with unit vectors and the factor itself as inputs, and gradients that end there.
case('contrastive_loss.normalised',
     {'image': F.normalize(tensors['contrastive_loss.image'], dim=-1), 'text': F.normalize(tensors['contrastive_loss.text'], dim=-1),
      'scale': tensors['contrastive_loss.logit_scale'].exp()}, contrastive_of_normalised)


def optimizer(name, kind, **options):
    """Ten steps with given gradients; `parameters` are the values after each step. The gradients' sizes differ by element, one is always zero."""
    start, gradients = normal((17,), 1.0), normal((10, 17), 1.0) * torch.logspace(-4, 1, 17)
    gradients[:, 3] = 0
    value = torch.nn.Parameter(start.double())
    steps = kind([value], **options)
    history = []
    for gradient in gradients:
        value.grad = gradient.double()
        steps.step()
        history.append(value.detach().clone())
    state = steps.state[value]
    for key, tensor in {'initial': start, 'gradients': gradients, 'parameters': torch.stack(history), 'first_moment': state['exp_avg'], 'second_moment': state['exp_avg_sq']}.items():
        tensors[f'{name}.{key}'] = tensor.float()
    parameters[name] = {'rate': options['lr'], 'beta1': options['betas'][0], 'beta2': options['betas'][1], 'epsilon': options['eps'], 'weight_decay': options['weight_decay']}


optimizer('adam', torch.optim.Adam, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
optimizer('adamw', torch.optim.AdamW, lr=1e-2, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.1)

if __name__ == '__main__':
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f'{name} is not finite')
    write_safetensors(FILE, tensors, {'parameters': json.dumps(parameters)})
    print(f'{len(tensors)} tensors, {FILE.stat().st_size} bytes')
