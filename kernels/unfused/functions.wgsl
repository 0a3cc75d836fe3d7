// Functions of one number, for the single steps of unfused chains (unary.wgsl and its gradient). Which one is a value and
// not a condition, as in common/activation.wgsl; `unaryKinds` in src/bench/fusion/steps.ts gives the numbers.

import package::common::item::Wide;

const AFFINE = 0u;
const CLAMP = 1u;
const LOGARITHM = 2u;
const SQUARE_ROOT = 3u;
const POWER = 4u;

// affine: a x + b   clamp: to [a, b]   logarithm   square root   power: x^a for x >= 0
fn unary(x: Wide, kind: u32, a: f32, b: f32) -> Wide {
  switch kind {
    case CLAMP: {
      return clamp(x, Wide(a), Wide(b));
    }
    case LOGARITHM: {
      return log(x);
    }
    case SQUARE_ROOT: {
      return sqrt(x);
    }
    case POWER: {
      if (a == 2.0) {
        return x * x;
      }
      return pow(x, Wide(a));
    }
    default: {
      return a * x + b;
    }
  }
}

// Derivative at x.
fn unary_slope(x: Wide, kind: u32, a: f32, b: f32) -> Wide {
  switch kind {
    case CLAMP: {
      return select(Wide(0.0), Wide(1.0), clamp(x, Wide(a), Wide(b)) == x);
    }
    case LOGARITHM: {
      return 1.0 / x;
    }
    case SQUARE_ROOT: {
      return 0.5 / sqrt(x);
    }
    case POWER: {
      if (a == 2.0) {
        return 2.0 * x;
      }
      return a * pow(x, Wide(a - 1.0));
    }
    default: {
      return Wide(a);
    }
  }
}
