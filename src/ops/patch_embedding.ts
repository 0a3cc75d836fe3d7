import { type TensorType, bytesOfTypes, defineOp, f32, shapeError } from '../tensor/op.ts';
import { apply, reshape } from '../tensor/recording.ts';
import { type Shape, type Tensor, sizeOf } from '../tensor/tensor.ts';
import { type Product, preferredProduct, productClass, productVariants } from './implicit_gemm.ts';
import { slice } from './slice.ts';
import { sumRows } from './sum_rows.ts';
import { transpose } from './transpose.ts';
import { type OpNames, checkTypes } from './types.ts';

interface PatchEmbeddingAttributes {
  /** Side of a patch in pixels. */
  readonly patch: number;
}

/** Multiplications and additions of a product over all patches. */
function flopsOf([batch, , height, width]: Shape, weight: Shape, patch: number): number {
  return 2 * batch * (height / patch) * (width / patch) * sizeOf(weight);
}

/**
 * Tokens of an image: the class token and one for each patch.
 *
 * @param op the one whose shape rule asks, with its `inputs`
 * @param image [batch, channels, height, width]
 * @throws Error of that op's shape rule where the patches do not fill the image
 */
function tokensOf(op: OpNames, inputs: readonly (TensorType | undefined)[], image: Shape, patch: number): number {
  const [, , height, width] = image;
  if (image.length !== 4 || !(Number.isInteger(patch) && patch >= 1) || height % patch !== 0 || width % patch !== 0) {
    throw shapeError(op, inputs, `image must be [batch, channels, height, width] with sides that are multiples of the patch size ${patch}`);
  }
  return 1 + (height / patch) * (width / patch);
}

/** The images of ViT-L/14 at 518 x 518, and what follows from them. */
const benchTypes = {
  image: { shape: [1, 3, 518, 518], dtype: 'f32' },
  weight: { shape: [588, 1024], dtype: 'f32' },
  classToken: { shape: [1024], dtype: 'f32' },
  position: { shape: [1370, 1024], dtype: 'f32' },
  output: { shape: [1, 1370, 1024], dtype: 'f32' },
} as const;

/** What the numbers of `--shapes` mean for a patch embedding and its gradients. */
const imageSizes = {
  names: ['batch', 'side', 'patch', 'width'],
  small: [[2, 15, 5, 37], [1, 12, 4, 64]],
} as const;

export const patchEmbeddingOp = defineOp<PatchEmbeddingAttributes>({
  name: 'patch_embedding',
  inputNames: ['image', 'weight', 'class token', 'position'],
  outputs(inputs, { patch }) {
    const [image, weight, classToken, position] = inputs;
    const tokens = tokensOf(patchEmbeddingOp, inputs, image!.shape, patch);
    const [batch, channels] = image!.shape;
    const columns = weight!.shape.at(-1)!;
    const expected = [[channels * patch * patch, columns], [columns], [tokens, columns]];
    const fits = expected.every((shape, i) => {
      const given = inputs[i + 1]!;
      return given.dtype === image!.dtype && given.shape.length === shape.length && shape.every((size, axis) => size === given.shape[axis]);
    });
    if (!fits) {
      const [w, c, p] = expected.map((shape) => `${image!.dtype}[${shape.join(', ')}]`);
      throw shapeError(patchEmbeddingOp, [image, weight, classToken, position], `weight must be ${w}, class token ${c} and position ${p}`);
    }
    return [{ shape: [batch, tokens, columns], dtype: image!.dtype }];
  },
  variants: productVariants(({ inputs: [image, weight, classToken, position], outputs: [output], attributes: { patch } }): Product[] => {
    const [, channels, height, width] = image!.shape;
    const [batch, tokens, columns] = output.shape;
    return [
      {
        operands: 'patches',
        rows: batch * tokens,
        columns,
        segments: channels * patch,
        inner: patch,
        params: { channels, height, width, tokens },
        factors: { image: image!, weight: weight! },
        epilogue: { bindings: { class_token: classToken!, position: position! }, conditions: {} },
        output,
      },
    ];
  }),
  preferred: preferredProduct,
  cost: (inputs, outputs, { patch }) => ({ flops: flopsOf(inputs[0]!.shape, inputs[1]!.shape, patch), bytes: bytesOfTypes(...inputs, ...outputs) }),
  shapeClass: ([image, weight], { patch }) => `${patch} ${productClass(sizeOf(image!.shape) / weight!.shape[0], weight!.shape[1], weight!.shape[0])}`,
  backward({ inputs: [image, weight], outputs: [output], outputGradients: [gradient], needs, attributes: { patch } }) {
    const [batch, tokens, columns] = output.shape;
    // The position embedding and the class token are added to every image's tokens alike.
    const shared = needs[2] || needs[3] ? (batch === 1 ? reshape(gradient!, [tokens, columns]) : reshape(sumRows(reshape(gradient!, [batch, tokens * columns])), [tokens, columns])) : undefined;
    return [
      needs[0] ? apply(patchEmbeddingBackwardImageOp, [gradient, transpose(weight!)], { patch, image: image!.shape })[0] : undefined,
      needs[1] ? apply(patchEmbeddingBackwardWeightOp, [image, gradient], { patch })[0] : undefined,
      needs[2] ? reshape(slice(shared!, 0, 0, 1), [columns]) : undefined,
      needs[3] ? shared : undefined,
    ];
  },
  sizes: {
    ...imageSizes,
    case: (batch, side, patch, width) => ({
      inputs: [f32(batch, 3, side, side), f32(3 * patch * patch, width), f32(width), f32(1 + (side / patch) ** 2, width)],
      attributes: { patch },
    }),
  },
  benchCases: [
    { name: 'ViT-L/14-518', inputs: [benchTypes.image, benchTypes.weight, benchTypes.classToken, benchTypes.position], attributes: { patch: 14 } },
  ],
});

/**
 * Gradient of a patch embedding's image: each patch's gradient times the weight transposed, [columns, channels * patch * patch],
 * back at its pixels.
 */
export const patchEmbeddingBackwardImageOp = defineOp<PatchEmbeddingAttributes & { readonly image: Shape }>({
  name: 'patch_embedding_backward_image',
  inputNames: ['output gradient', 'weight transposed'],
  outputs(inputs, { patch, image }) {
    const { shape: gradient, dtype } = inputs[0]!;
    const tokens = tokensOf(patchEmbeddingBackwardImageOp, inputs, image, patch);
    const columns = gradient.at(-1)!;
    checkTypes(patchEmbeddingBackwardImageOp, inputs, [{ shape: [image[0], tokens, columns], dtype }, { shape: [columns, image[1] * patch * patch], dtype }]);
    return [{ shape: image, dtype }];
  },
  variants: productVariants(({ inputs: [gradient, weight], outputs: [output], attributes: { patch } }): Product[] => {
    const [batch, channels, height, width] = output.shape;
    return [
      {
        operands: 'patches_image_gradient',
        rows: batch * (height / patch) * (width / patch),
        columns: channels * patch * patch,
        segments: 1,
        inner: weight!.shape[0],
        params: { channels, height, width, patch_size: patch },
        factors: { output_gradient: gradient!, weight: weight! },
        output,
      },
    ];
  }),
  preferred: preferredProduct,
  cost: ([gradient, weight], outputs, { patch }) => ({ flops: flopsOf(outputs[0].shape, weight!.shape, patch), bytes: bytesOfTypes(gradient, weight, ...outputs) }),
  shapeClass: ([, weight], { patch, image }) => `${patch} ${productClass(sizeOf(image) / weight!.shape[1], weight!.shape[1], weight!.shape[0])}`,
  sizes: {
    ...imageSizes,
    case: (batch, side, patch, width) => ({
      inputs: [f32(batch, 1 + (side / patch) ** 2, width), f32(width, 3 * patch * patch)],
      attributes: { patch, image: [batch, 3, side, side] },
    }),
  },
  benchCases: [{ name: 'ViT-L/14-518', inputs: [benchTypes.output, { shape: [1024, 588], dtype: 'f32' }], attributes: { patch: 14, image: benchTypes.image.shape } }],
});

/** Gradient of a patch embedding's weight: the sum over all patches of pixels times output gradient. */
export const patchEmbeddingBackwardWeightOp = defineOp<PatchEmbeddingAttributes>({
  name: 'patch_embedding_backward_weight',
  inputNames: ['image', 'output gradient'],
  outputs(inputs, { patch }) {
    const [image, gradient] = inputs;
    const tokens = tokensOf(patchEmbeddingBackwardWeightOp, inputs, image!.shape, patch);
    const [batch, channels] = image!.shape;
    const columns = gradient!.shape.at(-1)!;
    checkTypes(patchEmbeddingBackwardWeightOp, inputs, [undefined, { shape: [batch, tokens, columns], dtype: image!.dtype }]);
    return [{ shape: [channels * patch * patch, columns], dtype: image!.dtype }];
  },
  variants: productVariants(({ inputs: [image, gradient], outputs: [output], attributes: { patch } }): Product[] => {
    const [batch, channels, height, width] = image!.shape;
    return [
      {
        operands: 'patches_weight_gradient',
        rows: output.shape[0],
        columns: output.shape[1],
        segments: batch * (height / patch),
        inner: width / patch,
        params: { channels, height, width, patch_size: patch },
        factors: { image: image!, output_gradient: gradient! },
        output,
      },
    ];
  }),
  preferred: preferredProduct,
  cost: ([image, gradient], outputs, { patch }) => ({ flops: flopsOf(image!.shape, outputs[0].shape, patch), bytes: bytesOfTypes(image, gradient, ...outputs) }),
  shapeClass: ([image, gradient], { patch }) => `${patch} ${productClass(image!.shape[1] * patch * patch, gradient!.shape[2], sizeOf(gradient!.shape) / gradient!.shape[2])}`,
  sizes: {
    ...imageSizes,
    case: (batch, side, patch, width) => ({
      inputs: [f32(batch, 3, side, side), f32(batch, 1 + (side / patch) ** 2, width)],
      attributes: { patch },
    }),
  },
  benchCases: [{ name: 'ViT-L/14-518', inputs: [benchTypes.image, benchTypes.output], attributes: { patch: 14 } }],
});

/**
 * The tokens that a vision transformer begins with (Dosovitskiy et al. 2021, eq. 1; `CLIPVisionEmbeddings` of Hugging
 * Face): the class token, then one token for each patch, patch · weight, line by line; position is added to all.
 *
 * @param image [batch, channels, height, width], sides multiples of the patch size
 * @param weight [channels * patch * patch, columns], rows in the order channel, line, pixel
 * @param classToken [columns]
 * @param position [1 + patches, columns]
 * @returns [batch, 1 + patches, columns]
 * @throws Error naming the operand whose shape does not fit
 */
export function patchEmbedding(image: Tensor, weight: Tensor, classToken: Tensor, position: Tensor, { patch }: { readonly patch: number }): Tensor {
  return apply(patchEmbeddingOp, [image, weight, classToken, position], { patch })[0];
}
