"""Writes the small goldens of the whole model into test/golden. README.md beside this file lists what is in them.

    /usr/bin/python3 tools/oracle/generate.py [NAME...]
"""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from formats import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD, clip_config, preprocessor_config
from mfp_clip import PLAIN_CLIP, PROMPTS, MfpClip, full_config
from safetensors_file import write_safetensors
from tokenizer import Tokenizer
from weights import ClipShape, Normal, ResNetShape, TowerShape, clip_weights, openai_names, resnet_weights, trained_weights

GOLDEN = Path(__file__).resolve().parents[2] / 'test' / 'golden'
STEPS, LEARNING_RATE = 10, 1e-3


@dataclass(frozen=True)
class Case:
    """One golden folder."""
    name: str
    seed: int
    vision: TowerShape
    text: TowerShape
    patch: int
    # Side of the pretrained grid, in patches.
    grid: int
    joint: int
    resnet: ResNetShape
    # Differences from the default configuration.
    config: dict
    # Whether each image has a defect.
    labels: tuple
    # Logarithm of CLIP's temperature, and the spread of token embeddings: chosen for maps that are not saturated.
    logit_scale: float
    token_spread: float
    json_style: str = 'plain'
    special_first: bool = False
    clip_dtype: torch.dtype = torch.float32
    cnn_dtype: torch.dtype = torch.float32
    other_layouts: bool = False


CASES = (
    # All defaults but the sizes: the position grid is resized up, the CNN has odd widths.
    Case('default', 23, TowerShape(48, 8, 3, 72), TowerShape(32, 2, 2, 96), 7, 3, 20, ResNetShape(3, (1, 1, 1, 1), 5),
         {'image': {'size': 35}, 'cnn': {'size': 33}}, (1,), 3.4, 0.5, json_style='full'),
    # The other reading of every open choice; the position grid as pretrained.
    Case('alternative', 2, TowerShape(32, 8, 2, 64), TowerShape(16, 3, 1, 64), 6, 4, 20, ResNetShape(4, (1, 1, 1, 1), 2),
         {'image': {'size': 24}, 'cnn': {'size': 32}, 'i2tp': {'concat': 'token'}, 'sp': {'count': 2, 'stages': [1, 2], 'keepPrompts': False},
          'adapter': {'hidden': 24, 'lnPost': True}, 'mpfa': {'size': 5}, 'map': {'temperature': 30}, 'mp': {'detach': False}},
         (1,), 2.0, 0.2, json_style='difference', special_first=True),
    # A batch with a normal image in it; no self prompting, no neighbourhoods, other loss weights; the position grid resized down.
    Case('batch', 8, TowerShape(32, 4, 2, 48), TowerShape(16, 2, 1, 32), 5, 5, 12, ResNetShape(2, (2, 1, 2, 1), 2),
         {'image': {'size': 20}, 'cnn': {'size': 37}, 'sp': {'enabled': False}, 'mpfa': {'size': 1},
          'loss': {'gamma': 1.5, 'focal': 2, 'dice': 0.5, 'bce': 1.5}},
         (1, 0), 3.0, 0.5, other_layouts=True),
    # No mask prompting, no image-to-text prompting, no MPFA; CLIP stored in f16, the CNN in bf16; one normal image.
    Case('half', 6, TowerShape(32, 4, 2, 128), TowerShape(24, 2, 1, 96), 8, 3, 16, ResNetShape(2, (1, 1, 1, 1), 2),
         {'image': {'size': 40}, 'cnn': {'size': 32}, 'i2tp': {'enabled': False}, 'sp': {'count': 3, 'stages': [2, 4]},
          'mpfa': {'enabled': False}, 'mp': {'enabled': False}},
         (0,), 3.4, 0.5, clip_dtype=torch.float16, cnn_dtype=torch.bfloat16),
    # Prompted stages with a gap between them and prompts that don't stay; maps of two stages alone; three images.
    Case('gap', 5, TowerShape(24, 8, 1, 40), TowerShape(16, 1, 1, 48), 4, 2, 8, ResNetShape(2, (1, 1, 1, 1), 2),
         {'image': {'size': 28}, 'cnn': {'size': 32}, 'sp': {'count': 1, 'stages': [3, 1], 'keepPrompts': False}, 'adapter': {'lnPost': True},
          'mpfa': {'size': 5}, 'map': {'stages': [2, 4]}, 'mp': {'detach': False}},
         (0, 1, 1), 3.0, 0.5),
)


def textures(normal, labels, side):
    """Images in [0, 1] with 8-bit steps, [B, 3, side, side], and their masks [B, side, side]: waves and noise, and a dark disc where the
    label is 1."""
    y, x = torch.meshgrid(torch.arange(side) / side, torch.arange(side) / side, indexing='ij')
    images, masks = [], []
    for label in labels:
        phase = normal((3, 3), 2.0)
        image = torch.stack([0.5 + 0.25 * torch.sin(9 * x * a + 6 * y * b + c) for a, b, c in phase])
        image = image + normal((3, side, side), 0.08)
        centre = 0.5 + 0.15 * normal((2,), 1.0).clamp(-1, 1)
        disc = ((y - centre[0]) ** 2 + (x - centre[1]) ** 2 < 0.2 ** 2) & (label == 1)
        image = torch.where(disc, 0.15 + 0.2 * image, image)
        images.append((image.clamp(0, 1) * 255).round() / 255)
        masks.append(disc.float())
    return torch.stack(images), torch.stack(masks)


def normalise(images, mean, deviation):
    return (images - torch.tensor(mean)[:, None, None]) / torch.tensor(deviation)[:, None, None]


def run(model, inputs):
    """Forward, losses, the gradients of the trained tensors and ten steps of Adam."""
    arguments = inputs['input.image'], inputs['input.cnn_image'], inputs['input.ids']
    outputs = model.forward(*arguments)
    losses = model.losses(outputs, inputs['input.mask'], inputs['input.label'])
    outputs.update(losses)
    size = {part: model.config[part] for part in ('image', 'cnn')}
    plain = MfpClip(model.info, model.clip, model.cnn, {}, full_config({**PLAIN_CLIP, **size})).forward(*arguments)
    outputs['plain.map'], outputs['plain.score'] = plain['map.final'], plain['score']
    outputs['clip.image_features'] = model.clip_image_features(inputs['input.image'])
    outputs['clip.text_features'] = model.clip_text_features(inputs['input.ids'])
    outputs = {name: value.detach().clone() for name, value in outputs.items()}
    names = list(model.trained)
    # The adapters of stages that no map uses have no gradient.
    for name, gradient in zip(names, torch.autograd.grad(losses['loss.total'], [model.trained[name] for name in names], allow_unused=True)):
        outputs[f'grad.{name}'] = torch.zeros_like(model.trained[name]) if gradient is None else gradient
    optimizer = torch.optim.Adam(model.trained.values(), lr=LEARNING_RATE)
    steps = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = model.losses(model.forward(*arguments), inputs['input.mask'], inputs['input.label'])['loss.total']
        loss.backward()
        optimizer.step()
        steps.append(loss.detach())
    outputs['adam.losses'] = torch.stack(steps)
    for name, tensor in model.trained.items():
        outputs[f'adam10.{name}'] = tensor.detach().clone()
    return outputs


def clear_rounding(outputs):
    """Where a gradient is zero but for rounding, Adam takes steps of full length in random directions: such a gradient becomes zero, and the
    tensor's `adam10` goes. It happens to the bias of `i2tp.fuse` in the token reading, which adds one number to all features of a token,
    so that every LayerNorm takes it out again."""
    gradients = [name for name in outputs if name.startswith('grad.')]
    largest = max(outputs[name].abs().max() for name in gradients)
    for name in gradients:
        if 0 < outputs[name].abs().max() < 1e-12 * largest:
            outputs[name] = torch.zeros_like(outputs[name])
            del outputs[name.replace('grad.', 'adam10.', 1)]
            print(f'  {name} is zero')


def as_dtype(tensors, dtype, requires_grad=False):
    return {name: tensor.to(dtype).clone().requires_grad_(requires_grad) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def relative(value, reference):
    """The largest difference, relative to the largest value."""
    return ((value.double() - reference).abs().max() / reference.abs().max().clamp(min=1e-30)).item()


def build(case):
    """The weights and inputs of a case, as they are stored.

    :return: the tokenizer, the CLIP's shape, the configuration, the three dicts of weights and the inputs
    """
    tokenizer = Tokenizer(special_first=case.special_first, merge_pairs=case.json_style == 'difference')
    # The published configurations have the id 2 here, which transformers takes as "the highest id".
    eos = 2 if case.json_style == 'full' else tokenizer.end
    shape = ClipShape(case.vision, case.text, case.patch, case.grid * case.patch, case.joint, len(tokenizer), eos)
    config = full_config(case.config)
    clip = as_dtype(clip_weights(shape, case.seed * 100, case.logit_scale, case.token_spread), case.clip_dtype)
    cnn = as_dtype(resnet_weights(case.resnet, case.seed * 100 + 1), case.cnn_dtype)
    trained = trained_weights(config, shape, case.resnet.features, case.seed * 100 + 2)

    normal = Normal(case.seed * 100 + 3)
    image, mask = textures(normal, case.labels, config['image']['size'])
    cnn_image, _ = textures(normal, case.labels, config['cnn']['size'])
    inputs = {
        'input.image': normalise(image, CLIP_MEAN, CLIP_STD),
        'input.cnn_image': normalise(cnn_image, IMAGENET_MEAN, IMAGENET_STD),
        'input.ids': torch.tensor([tokenizer.encode(prompt, shape.context) for prompt in PROMPTS]),
        'input.mask': mask,
        'input.label': torch.tensor(case.labels, dtype=torch.float32),
    }
    return tokenizer, shape, config, clip, cnn, trained, inputs


def model_of(case, dtype):
    """A case's model with its trained tensors as leaves, and its inputs, computing in a dtype."""
    _, shape, config, clip, cnn, trained, inputs = build(case)
    return MfpClip(shape.info(), as_dtype(clip, dtype), as_dtype(cnn, dtype), as_dtype(trained, dtype, requires_grad=True), config), as_dtype(inputs, dtype)


def generate(case, folder):
    tokenizer, shape, config, clip, cnn, trained, inputs = build(case)
    outputs, single = (run(*model_of(case, dtype)) for dtype in (torch.float64, torch.float32))
    clear_rounding(outputs)
    report(case, outputs, single)

    shutil.rmtree(folder, ignore_errors=True)
    write_clip(folder / 'clip', case, shape, tokenizer)
    stored = dict(clip)
    if case.json_style == 'full':
        # Older exports carry these buffers along.
        for tower, count in (('text', shape.context), ('vision', 1 + case.grid ** 2)):
            stored[f'{tower}_model.embeddings.position_ids'] = torch.arange(count)[None]
    write_safetensors(folder / 'clip' / 'model.safetensors', stored, {'format': 'pt'})
    if case.other_layouts:
        write_clip(folder / 'clip-openai', case, shape, tokenizer)
        write_safetensors(folder / 'clip-openai' / 'model.safetensors', openai_names(clip))
        write_clip(folder / 'clip-sharded', case, shape, tokenizer)
        write_shards(folder / 'clip-sharded', clip)
    (folder / 'cnn').mkdir()
    write_safetensors(folder / 'cnn' / 'model.safetensors', cnn, {'format': 'pt'})
    write_safetensors(folder / 'mfp.safetensors', trained, {'config': json.dumps(config)})
    inputs['input.ids'] = inputs['input.ids'].int()
    write_safetensors(folder / 'golden.safetensors', {**inputs, **as_dtype(outputs, torch.float32)})


def write_clip(folder, case, shape, tokenizer):
    """Everything of a Hugging Face folder but the weights."""
    folder.mkdir(parents=True)
    for name, content in (
        ('config.json', clip_config(shape, case.json_style, 0 if case.json_style == 'full' else tokenizer.start)),
        ('tokenizer.json', tokenizer.json()),
        ('preprocessor_config.json', preprocessor_config(shape, case.json_style)),
    ):
        (folder / name).write_text(json.dumps(content, indent=2) + '\n')


def write_shards(folder, tensors):
    """Two shards and their index."""
    names = sorted(tensors)
    weight_map = {}
    for index, part in enumerate((names[:len(names) // 2], names[len(names) // 2:])):
        file = f'model-{index + 1:05}-of-00002.safetensors'
        write_safetensors(folder / file, {name: tensors[name] for name in part}, {'format': 'pt'})
        weight_map.update({name: file for name in part})
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    (folder / 'model.safetensors.index.json').write_text(json.dumps({'metadata': {'total_size': total}, 'weight_map': weight_map}, indent=2) + '\n')


def report(case, outputs, single):
    """Prints how healthy the numbers are and how far float32 arithmetic is from float64 by itself; refuses a useless golden."""
    worst = {}
    for name, value in outputs.items():
        group = name.split('.')[0]
        if not value.any():
            continue
        error = relative(single[name], value)
        if error > worst.get(group, (0, ''))[0]:
            worst[group] = error, name
    print(case.name, {group: f'{error:.1e} {name}' for group, (error, name) in worst.items()})
    for name in ('map.coarse', 'map.final'):
        value = outputs[name]
        middle = ((value > 0.1) & (value < 0.9)).double().mean().item()
        spread = value.flatten(1).std(1).min().item()
        print(f'  {name}: {value.min():.3f} to {value.max():.3f}, spread {spread:.3f}')
        if middle < 0.9 or spread < 0.02:
            raise ValueError(f'{case.name}: {name} is saturated or flat')
    print('  ' + ', '.join(f'{name} {outputs[name].item():.4f}' for name in outputs if name.startswith('loss.')))
    print(f"  features of normal and abnormal differ by {torch.dist(*torch.nn.functional.normalize(outputs['text.features'][0], dim=-1)):.3f}")
    for name, value in outputs.items():
        if not torch.isfinite(value).all():
            raise ValueError(f'{case.name}: {name} is not finite')


if __name__ == '__main__':
    wanted = sys.argv[1:]
    for case in CASES:
        if not wanted or case.name in wanted:
            generate(case, GOLDEN / case.name)
