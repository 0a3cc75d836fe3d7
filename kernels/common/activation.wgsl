// Pointwise activations, the same function whether an op fuses one into its epilogue or runs it alone.
// The kind is a value and not a condition: it is read once per output element, and one pipeline then serves all kinds
// (`activationKinds` in src/ops/activation.ts gives the numbers).

const NONE = 0u;
const QUICK_GELU = 1u;
const LEAKY_RELU = 2u;
const RELU = 3u;

// Slope below zero of LeakyReLU, torch.nn.LeakyReLU's default.
const LEAKY_SLOPE = 0.01;

fn sigmoid(x: vec4f) -> vec4f {
  return 1.0 / (1.0 + exp(-x));
}

fn activated4(x: vec4f, kind: u32) -> vec4f {
  switch kind {
    case QUICK_GELU: {
      return x * sigmoid(1.702 * x);
    }
    case LEAKY_RELU: {
      return select(LEAKY_SLOPE * x, x, x > vec4f());
    }
    case RELU: {
      return max(x, vec4f());
    }
    default: {
      return x;
    }
  }
}

// One element alone: compilers drop the arithmetic of elements that nobody reads.
fn activated(x: f32, kind: u32) -> f32 {
  return activated4(vec4f(x), kind).x;
}

// Derivatives at x.
fn activation_slope4(x: vec4f, kind: u32) -> vec4f {
  switch kind {
    case QUICK_GELU: {
      let s = sigmoid(1.702 * x);
      return s * (1.0 + 1.702 * x * (1.0 - s));
    }
    case LEAKY_RELU: {
      return select(vec4f(LEAKY_SLOPE), vec4f(1), x > vec4f());
    }
    case RELU: {
      return select(vec4f(), vec4f(1), x > vec4f());
    }
    default: {
      return vec4f(1);
    }
  }
}

fn activation_slope(x: f32, kind: u32) -> f32 {
  return activation_slope4(vec4f(x), kind).x;
}
