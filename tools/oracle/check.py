"""Checks of the oracle itself: against PyTorch's and torchvision's own modules, against loops that spell the formulas out, and its
gradients against central differences.

    /usr/bin/python3 tools/oracle/check.py
"""

import math
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision

import mfp_clip
from generate import CASES, model_of
from safetensors_file import read_safetensors, write_safetensors
from weights import ResNetShape, openai_names, resnet_weights

cases = {case.name: case for case in CASES}
double = torch.float64


def close(value, reference, tolerance):
    error = ((value - reference).abs().max() / reference.abs().max()).item()
    assert value.shape == reference.shape and error <= tolerance, f'{tuple(value.shape)} against {tuple(reference.shape)}, error {error:.2e}'


def resnet50_is_torchvisions():
    weights = resnet_weights(ResNetShape(64, (3, 4, 6, 3), 1000), 7)
    module = torchvision.models.resnet50()
    module.load_state_dict(weights)
    module.eval()
    image = torch.randn(1, 3, 97, 65, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        features = mfp_clip.resnet_stages(weights, image)[-1].mean((2, 3))
        close(F.linear(features, weights['fc.weight'], weights['fc.bias']), module(image), 1e-5)


def blocks_are_pytorchs():
    """Both towers' layers against nn.TransformerEncoderLayer, fed through OpenAI's names, whose attention is PyTorch's module."""
    model, _ = model_of(cases['default'], double)
    renamed = openai_names(model.clip)
    for prefix, openai, tower, causal in (('vision_model', 'visual.transformer', model.info.vision, False), ('text_model', 'transformer', model.info.text, True)):
        name = f'{openai}.resblocks.1'
        mlp, width = renamed[f'{name}.mlp.c_fc.weight'].shape
        layer = torch.nn.TransformerEncoderLayer(width, tower.heads, mlp, 0.0, mfp_clip.quick_gelu, batch_first=True, norm_first=True).double()
        names = {
            'self_attn.in_proj_': 'attn.in_proj_', 'self_attn.out_proj.': 'attn.out_proj.', 'linear1.': 'mlp.c_fc.', 'linear2.': 'mlp.c_proj.',
            'norm1.': 'ln_1.', 'norm2.': 'ln_2.',
        }
        layer.load_state_dict({f'{theirs}{kind}': renamed[f'{name}.{ours}{kind}'] for theirs, ours in names.items() for kind in ('weight', 'bias')})
        x = torch.randn(2, 19, width, dtype=double, generator=torch.Generator().manual_seed(2))
        mask = torch.ones(19, 19, dtype=torch.bool).triu(1) if causal else None
        close(mfp_clip.block(model.clip, f'{prefix}.encoder.layers.1', x, tower, causal), layer(x, mask), 1e-12)


def untrained_is_plain_clip():
    """With both fusing layers at [I 0], the text features are CLIP's and the second pass is the first."""
    model, inputs = model_of(cases['default'], double)
    for name in ('i2tp.fuse', 'mp.fuse'):
        weight = model.trained[f'{name}.weight']
        model.trained[f'{name}.weight'] = torch.eye(*weight.shape, dtype=double)
        model.trained[f'{name}.bias'] = torch.zeros(weight.shape[0], dtype=double)
    outputs = model.forward(inputs['input.image'], inputs['input.cnn_image'], inputs['input.ids'])
    close(outputs['text.features'][0], model.clip_text_features(inputs['input.ids']), 1e-12)
    close(outputs['map.final'], outputs['map.coarse'], 1e-12)


def token_reading_starts_as_clip():
    model, inputs = model_of(cases['alternative'], double)
    model.trained['i2tp.fuse.weight'], model.trained['i2tp.fuse.bias'] = torch.eye(77, 78, dtype=double), torch.zeros(77, dtype=double)
    features = torch.randn(1, model.trained['i2tp.image_proj.weight'].shape[1], dtype=double)
    close(model.text_embeddings(inputs['input.ids'], features)[0], model.clip['text_model.embeddings.token_embedding.weight'][inputs['input.ids']], 1e-12)


def batches_change_nothing():
    for name in ('batch', 'gap'):
        model, inputs = model_of(cases[name], double)
        together = model.forward(inputs['input.image'], inputs['input.cnn_image'], inputs['input.ids'])['map.final']
        for index in range(together.shape[0]):
            alone = model.forward(inputs['input.image'][index:index + 1], inputs['input.cnn_image'][index:index + 1], inputs['input.ids'])
            close(alone['map.final'][0], together[index], 1e-12)


def prompts_sit_where_they_should():
    """The layers' sequence lengths for each of the prompting choices, of an 8-layer tower with 5 tokens and 2 prompts."""
    expected = {
        ((1,), True): [5, 7, 7, 7, 7, 7, 7, 7], ((1,), False): [5, 7, 5, 5, 5, 5, 5, 5], ((1, 2), False): [5, 7, 7, 7, 5, 5, 5, 5],
        ((3, 1), True): [5, 7, 7, 7, 7, 7, 7, 7], ((3, 1), False): [5, 7, 5, 5, 7, 7, 5, 5], ((2, 4), True): [5, 5, 7, 7, 7, 7, 7, 7],
        ((4,), False): [5, 5, 5, 5, 5, 5, 7, 7],
    }
    model, _ = model_of(cases['default'], double)
    width = cases['default'].vision.width
    embedding, prompts = torch.randn(1, 5, width, dtype=double), torch.randn(1, 2, width, dtype=double)
    plain = mfp_clip.block
    for (stages, keep), lengths in expected.items():
        model.config['sp'].update(stages=list(stages), keepPrompts=keep)
        seen = []

        def watched(weights, name, x, tower, causal):
            layer = len(seen) + 1
            seen.append(x.shape[1])
            if layer in model.prompted_layers():
                assert torch.equal(x[:, 5:], prompts), f'layer {layer} has no fresh prompts'
            return plain(weights, name, x, tower, causal)

        mfp_clip.block = watched
        try:
            taps, _ = model.image_tower(embedding, prompts)
        finally:
            mfp_clip.block = plain
        assert seen == lengths, f'{stages} {keep}: {seen}'
        assert all(tap.shape == (1, 4, width) for tap in taps)


def pooling_and_upsampling_are_their_formulas():
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randn(2, 16, 3, dtype=double, generator=generator)
    for size in (1, 3, 5):
        pooled = mfp_clip.neighbourhood_mean(tokens, size)
        for y in range(4):
            for x in range(4):
                reach = size // 2
                cells = [tokens[:, i * 4 + j] for i in range(4) for j in range(4) if abs(i - y) <= reach and abs(j - x) <= reach]
                close(pooled[:, y * 4 + x], torch.stack(cells).mean(0), 1e-12)
    maps = torch.rand(1, 2, 9, dtype=double, generator=generator)
    result = mfp_clip.upsample_mean(maps, 7, 7)
    for y in range(7):
        for x in range(7):
            total = 0.0
            sources = [min(max((c + 0.5) * 3 / 7 - 0.5, 0), 2) for c in (y, x)]
            for i in range(3):
                for j in range(3):
                    weight = max(0, 1 - abs(sources[0] - i)) * max(0, 1 - abs(sources[1] - j))
                    total += weight * (maps[0, 0, i * 3 + j] + maps[0, 1, i * 3 + j]).item() / 2
            assert abs(total - result[0, y, x].item()) < 1e-12


def losses_are_their_formulas():
    generator = torch.Generator().manual_seed(4)
    p = torch.rand(2, 3, 5, dtype=double, generator=generator)
    m = (torch.rand(2, 3, 5, dtype=double, generator=generator) > 0.7).double()
    total = 0.0
    for probability, target in zip(p.flatten().tolist(), m.flatten().tolist()):
        one = min(max(target, 1e-5), 1 - 1e-5)
        pt = one * probability + (1 - one) * (1 - probability) + 1e-5
        total -= (1 - pt) ** 2 * math.log(pt)
    assert abs(total / 30 - mfp_clip.focal_loss(p, m, 2).item()) < 1e-12
    dice = 0.0
    for index in range(2):
        for a, b in ((p[index], m[index]), (1 - p[index], 1 - m[index])):
            dice += 1 - (2 * sum((a * b).flatten().tolist()) + 1) / (sum(a.flatten().tolist()) + sum(b.flatten().tolist()) + 1)
    assert abs(dice / 2 - mfp_clip.dice_loss(p, m).item()) < 1e-12


def gradients_are_central_differences():
    """The gradient of every trained tensor along a random direction, in float64; the mask's path included."""
    for name in ('default', 'alternative', 'batch', 'half', 'gap'):
        model, inputs = model_of(cases[name], double)
        model.config['mp']['detach'] = False

        def loss():
            outputs = model.forward(inputs['input.image'], inputs['input.cnn_image'], inputs['input.ids'])
            return model.losses(outputs, inputs['input.mask'], inputs['input.label'])['loss.total']

        names = list(model.trained)
        gradients = torch.autograd.grad(loss(), [model.trained[name] for name in names], allow_unused=True)
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for tensor, gradient in zip((model.trained[name] for name in names), gradients):
                gradient = torch.zeros_like(tensor) if gradient is None else gradient
                direction = torch.randn(tensor.shape, dtype=double, generator=generator)
                direction /= direction.norm()
                values = []
                for sign in (1, -2, 1):
                    tensor += sign * 1e-5 * direction
                    values.append(loss().item())
                slope, expected = (values[0] - values[1]) / 2e-5, (gradient * direction).sum().item()
                assert abs(slope - expected) < 1e-7 + 1e-5 * abs(expected), f'{name}: {slope} against {expected}'


def low_memory_is_the_same():
    model, inputs = model_of(cases['default'], double)
    gradients = []
    for low_memory in (False, True):
        model.low_memory = low_memory
        outputs = model.forward(inputs['input.image'], inputs['input.cnn_image'], inputs['input.ids'])
        loss = model.losses(outputs, inputs['input.mask'], inputs['input.label'])['loss.total']
        gradients.append(torch.autograd.grad(loss, list(model.trained.values())))
    for a, b in zip(*gradients):
        close(a, b, 1e-9)


def files_read_back():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'a.safetensors'
        tensors = {
            'half': torch.randn(3, 5).half(), 'brain': torch.randn(7).bfloat16(), 'scalar': torch.tensor(2.5), 'empty': torch.empty(0, 4),
            'ids': torch.arange(6).reshape(2, 3), 'view': torch.randn(4, 6).T,
        }
        write_safetensors(path, tensors, {'config': '{}'})
        read, metadata = read_safetensors(path)
        assert metadata == {'config': '{}'} and read.keys() == tensors.keys()
        assert all(torch.equal(read[name], tensors[name]) and read[name].dtype == tensors[name].dtype for name in tensors)


if __name__ == '__main__':
    checks = [
        resnet50_is_torchvisions, blocks_are_pytorchs, untrained_is_plain_clip, token_reading_starts_as_clip, batches_change_nothing,
        prompts_sit_where_they_should, pooling_and_upsampling_are_their_formulas, losses_are_their_formulas, gradients_are_central_differences,
        low_memory_is_the_same, files_read_back,
    ]
    failed = 0
    for check in checks:
        try:
            check()
            print(f'ok      {check.__name__}')
        except AssertionError as error:
            failed += 1
            print(f'failed  {check.__name__}: {error}')
    print(f'{len(checks) - failed} passed, {failed} failed')
    raise SystemExit(1 if failed else 0)
