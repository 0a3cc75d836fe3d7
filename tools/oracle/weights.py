"""Random weights in the names and layouts of real checkpoints, scaled so that activations stay near one and attention is neither
uniform nor one-hot. From numpy's RandomState, whose stream is frozen: the same seed gives the same files on every machine.
"""

from dataclasses import dataclass

import numpy
import torch

from mfp_clip import Clip, Tower


@dataclass(frozen=True)
class TowerShape:
    width: int
    layers: int
    heads: int
    mlp: int


@dataclass(frozen=True)
class ClipShape:
    vision: TowerShape
    text: TowerShape
    patch: int
    image_size: int
    joint: int
    vocabulary: int
    eos_token_id: int
    context: int = 77

    def info(self):
        """What the model needs of it."""
        return Clip(Tower(self.vision.layers, self.vision.heads), Tower(self.text.layers, self.text.heads),
                    self.patch, self.image_size, self.eos_token_id)


@dataclass(frozen=True)
class ResNetShape:
    planes: int
    blocks: tuple
    classes: int

    @property
    def features(self):
        return self.planes * 8 * 4


class Normal:
    """Normally distributed float32 tensors from one seed."""

    def __init__(self, seed):
        self.random = numpy.random.RandomState(seed)

    def __call__(self, shape, deviation, mean=0.0):
        values = self.random.standard_normal(tuple(shape)).astype(numpy.float32) * numpy.float32(deviation) + numpy.float32(mean)
        return torch.from_numpy(values)


def _transformer(normal, prefix, shape, tensors):
    def linear(name, output, width, gain):
        tensors[f'{name}.weight'] = normal((output, width), gain / width ** 0.5)
        tensors[f'{name}.bias'] = normal((output,), 0.1)

    for layer in range(shape.layers):
        name = f'{prefix}.encoder.layers.{layer}'
        for part, gain in (('k', 1.2), ('v', 1.0), ('q', 1.2), ('out', 1.0)):
            linear(f'{name}.self_attn.{part}_proj', shape.width, shape.width, gain)
        linear(f'{name}.mlp.fc1', shape.mlp, shape.width, 1.0)
        linear(f'{name}.mlp.fc2', shape.width, shape.mlp, 1.0)
        for norm in ('layer_norm1', 'layer_norm2'):
            _norm(normal, f'{name}.{norm}', shape.width, tensors)


def _norm(normal, name, width, tensors):
    tensors[f'{name}.weight'] = normal((width,), 0.2, 1.0)
    tensors[f'{name}.bias'] = normal((width,), 0.1)


def clip_weights(shape, seed, logit_scale, token_spread):
    """A CLIP with `CLIPModel` names.

    :param logit_scale: the logarithm of the factor on cosine similarities
    :param token_spread: deviation of the token embeddings around their common mean: how much two prompts' features differ
    """
    normal = Normal(seed)
    vision, text = shape.vision, shape.text
    tensors = {}
    grid = shape.image_size // shape.patch
    fan_in = 3 * shape.patch ** 2
    tensors['vision_model.embeddings.class_embedding'] = normal((vision.width,), 0.5)
    # Neighbouring pixels are alike, so a patch embedding of unit size needs less than 1/√fan_in; 0.7 fits the images made here.
    tensors['vision_model.embeddings.patch_embedding.weight'] = normal((vision.width, 3, shape.patch, shape.patch), 0.7 / fan_in ** 0.5)
    tensors['vision_model.embeddings.position_embedding.weight'] = normal((1 + grid * grid, vision.width), 0.5)
    _norm(normal, 'vision_model.pre_layrnorm', vision.width, tensors)
    _transformer(normal, 'vision_model', vision, tensors)
    _norm(normal, 'vision_model.post_layernorm', vision.width, tensors)
    tokens = normal((shape.vocabulary, text.width), token_spread) + normal((text.width,), 0.5)
    tensors['text_model.embeddings.token_embedding.weight'] = tokens
    tensors['text_model.embeddings.position_embedding.weight'] = normal((shape.context, text.width), 0.5)
    _transformer(normal, 'text_model', text, tensors)
    _norm(normal, 'text_model.final_layer_norm', text.width, tensors)
    tensors['visual_projection.weight'] = normal((shape.joint, vision.width), vision.width ** -0.5)
    tensors['text_projection.weight'] = normal((shape.joint, text.width), text.width ** -0.5)
    tensors['logit_scale'] = torch.tensor(logit_scale, dtype=torch.float32)
    return tensors


def resnet_weights(shape, seed):
    """A bottleneck ResNet with torchvision's names, statistics and classifier included."""
    normal = Normal(seed)
    tensors = {}

    def convolution(name, output, width, size):
        tensors[f'{name}.weight'] = normal((output, width, size, size), (2 / (width * size * size)) ** 0.5)

    def batch_norm(name, width, gain=1.0):
        tensors[f'{name}.weight'] = normal((width,), 0.2 * gain, gain)
        tensors[f'{name}.bias'] = normal((width,), 0.1)
        tensors[f'{name}.running_mean'] = normal((width,), 0.2)
        tensors[f'{name}.running_var'] = torch.exp(normal((width,), 0.3))
        tensors[f'{name}.num_batches_tracked'] = torch.tensor(1000, dtype=torch.int64)

    convolution('conv1', shape.planes, 3, 7)
    batch_norm('bn1', shape.planes)
    width = shape.planes
    for stage, blocks in enumerate(shape.blocks):
        planes = shape.planes * 2 ** stage
        for index in range(blocks):
            name = f'layer{stage + 1}.{index}'
            convolution(f'{name}.conv1', planes, width, 1)
            batch_norm(f'{name}.bn1', planes)
            convolution(f'{name}.conv2', planes, planes, 3)
            batch_norm(f'{name}.bn2', planes)
            convolution(f'{name}.conv3', planes * 4, planes, 1)
            # Residual branches add up over a stage's blocks; these gains keep the sum near one.
            batch_norm(f'{name}.bn3', planes * 4, gain=0.7 if index == 0 else 0.2)
            if index == 0:
                convolution(f'{name}.downsample.0', planes * 4, width, 1)
                batch_norm(f'{name}.downsample.1', planes * 4, gain=0.7)
            width = planes * 4
    tensors['fc.weight'] = normal((shape.classes, width), width ** -0.5)
    tensors['fc.bias'] = normal((shape.classes,), 0.1)
    return tensors


def trained_weights(config, clip_shape, features, seed):
    """The tensors of `mfp.safetensors`, in no state that an initialisation would leave: all of them random. Parts that the configuration
    turns off have no tensors.

    :param features: CNN feature width
    """
    normal = Normal(seed)
    vision, text, joint = clip_shape.vision.width, clip_shape.text.width, clip_shape.joint
    tensors = {}

    def linear(name, output, width, gain):
        tensors[f'{name}.weight'] = normal((output, width), gain / width ** 0.5)
        tensors[f'{name}.bias'] = normal((output,), 0.1)

    def fused(name, size, width):
        """A linear layer near [I 0], as training would leave it."""
        linear(name, size, width, 0.4)
        tensors[f'{name}.weight'][:, :size] += torch.eye(size)

    if config['i2tp']['enabled']:
        linear('i2tp.image_proj', text, features, 1.0)
        if config['i2tp']['concat'] == 'feature':
            fused('i2tp.fuse', text, 2 * text)
        else:
            fused('i2tp.fuse', clip_shape.context, clip_shape.context + 1)
    if config['sp']['enabled']:
        for k in range(config['sp']['count']):
            linear(f'sp.proj.{k}', vision, features, 1.5)
        tensors['sp.tokens'] = normal((config['sp']['count'], vision), 1.0)
    hidden = joint if config['adapter']['hidden'] is None else config['adapter']['hidden']
    for stage in range(4 if config['adapter']['enabled'] else 0):
        linear(f'adapter.{stage}.fc1', hidden, vision, 1.4)
        linear(f'adapter.{stage}.fc2', joint, hidden, 1.4)
    if config['mp']['enabled']:
        fused('mp.fuse', vision, 2 * vision)
    return tensors


def openai_names(tensors):
    """The same CLIP under the names and layouts of OpenAI's state dict: one input projection per attention, projections transposed."""
    renamed = {'logit_scale': tensors['logit_scale']}
    renamed['visual.proj'] = tensors['visual_projection.weight'].T.contiguous()
    renamed['text_projection'] = tensors['text_projection.weight'].T.contiguous()
    fixed = {
        'vision_model.embeddings.class_embedding': 'visual.class_embedding',
        'vision_model.embeddings.patch_embedding.weight': 'visual.conv1.weight',
        'vision_model.embeddings.position_embedding.weight': 'visual.positional_embedding',
        'vision_model.pre_layrnorm': 'visual.ln_pre',
        'vision_model.post_layernorm': 'visual.ln_post',
        'text_model.embeddings.token_embedding.weight': 'token_embedding.weight',
        'text_model.embeddings.position_embedding.weight': 'positional_embedding',
        'text_model.final_layer_norm': 'ln_final',
    }
    inner = {'self_attn.out_proj': 'attn.out_proj', 'layer_norm1': 'ln_1', 'layer_norm2': 'ln_2', 'mlp.fc1': 'mlp.c_fc', 'mlp.fc2': 'mlp.c_proj'}
    for name, tensor in tensors.items():
        stem, _, kind = name.rpartition('.')
        if name in fixed:
            renamed[fixed[name]] = tensor
        elif stem in fixed:
            renamed[f'{fixed[stem]}.{kind}'] = tensor
        elif '.encoder.layers.' in name:
            tower, _, rest = stem.partition('.encoder.layers.')
            layer, _, part = rest.partition('.')
            target = f"{'visual.' if tower == 'vision_model' else ''}transformer.resblocks.{layer}"
            if part in inner:
                renamed[f'{target}.{inner[part]}.{kind}'] = tensor
            elif part == 'self_attn.q_proj':
                renamed[f'{target}.attn.in_proj_{kind}'] = torch.cat([tensors[f'{tower}.encoder.layers.{layer}.self_attn.{p}_proj.{kind}'] for p in 'qkv'])
    return renamed
